"""The columns of a table beyond the paper: mINP, costs and claims."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from reidkit.errors import UsageError
from reidkit.experiments import results
from reidkit.experiments.plan import Experiment, plan_runs
from reidkit.experiments.render import all_formats, grid
from reidkit.experiments.results import Cost, collect_results, network_cost, training_speed
from reidkit.model.network import build_network
from reidkit.recipe import Network
from reidkit.recipes import TABLES
from tests.experiments.made import MARKET, finish


def asked_for(folder, *rows, table=TABLES["beyond"], **options):
    """The table with these rows asked for, from scratch."""
    return Experiment(table=table, data={"market1501": folder}, out=folder, rows=rows, weights={"": None}, **options)


def test_costs_of_the_baseline_by_hand():
    """23.508 million weights of a ResNet-50 without its classifier and 4,096 of BNNeck; 8.1 GFLOP at last stride 1."""
    cost = network_cost(Network(last_stride=1, neck="bnneck"), (256, 128))
    assert cost.parameters == pytest.approx(23.508032 + 0.004096)
    assert cost.gflop == pytest.approx(8.11, abs=0.01)
    tall = network_cost(Network(last_stride=1, head="mgn"), (384, 128))
    assert tall.gflop == pytest.approx(27.9, abs=0.1)


def test_the_table_shows_what_was_measured_beside_what_was_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "network_cost", lambda *_: Cost(parameters=0.75, gflop=0.1))
    asked = asked_for(tmp_path, "pcb", size="small")
    finish(asked, "pcb", 0, 0.6, 0.4)
    sheet = collect_results(asked, {"market1501": MARKET}, {})
    head, rows = grid(sheet)
    pcb = dict(zip(head, next(row for row in rows if row[0] == "PCB"), strict=True))
    assert pcb["market1501 measured"] == "60.0 / 40.0"
    assert pcb["market1501 claimed"] == "92.3 / 77.4"
    assert pcb["dukemtmc claimed"] == "81.8 / 66.1"
    assert (pcb["parameters, M"], pcb["GFLOP"]) == ("0.75", "0.10")
    assert not [name for name in head if name.endswith(" paper")]
    unmeasured, _ = grid(collect_results(replace(asked, data={}), {}, {}))
    assert [name for name in unmeasured if "market1501" in name] == ["market1501 claimed"]
    titles = [row.title for row in TABLES["beyond"].rows]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if title.startswith("as ")], "each says of itself what it is"
    ours = sheet.as_json()["rows"]
    found = next(row for row in ours if row["row"] == "pcb")
    assert found["claimed"]["msmt17"] == {"rank1": 0.785, "map": 0.555}
    assert found["results"]["market1501"]["map"]["mean"] == 0.4
    assert {"parameters_m", "gflop", "images_per_s", "note"} <= set(found)
    files = all_formats(sheet)
    assert "AlignedReID++: By the global feature" in files["txt"]
    assert len(list(csv.DictReader(files["csv"].splitlines()))) == 3 * 3 * len(ours)
    json.loads(files["json"])


def test_rows_share_runs_with_tables_of_the_paper(tmp_path):
    """The baseline of `beyond` is Table 1's last rung, and its IBN-a the row of the backbones."""
    planned = {
        name: {
            run.folder for run in plan_runs(Experiment(table=TABLES[name], data={"market1501": tmp_path}, out=tmp_path))
        }
        for name in ("beyond", "table1", "backbones")
    }
    assert planned["beyond"] & planned["table1"]
    assert len(planned["beyond"] & planned["backbones"]) == 2


def test_the_speed_of_runs(tmp_path):
    """Of 0, 10, ..., 100 images a second nine of ten lie below 90."""
    rows = [{"kind": "step", "epoch": 1, "step": i, "images_per_s": 10.0 * i} for i in range(1, 11)]
    rows.append({"kind": "step", "epoch": 1, "step": 11, "images_per_s": 0.001})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert training_speed([tmp_path, tmp_path / "none"]) == pytest.approx(90.0)
    assert training_speed([]) is None


def test_a_setting_need_not_fit_the_rows_that_are_not_asked_for(tmp_path, monkeypatch):
    """The head of HA-CNN takes no other backbone."""
    monkeypatch.setattr(results, "network_cost", lambda *_: Cost(parameters=0.75, gflop=0.1))
    asked = asked_for(tmp_path, "strong-baseline", settings=("network.backbone=resnet18",))
    shown = {row.name: row.recipe for row in collect_results(asked, {"market1501": MARKET}, {}).rows}
    assert shown["strong-baseline"].network.backbone == "resnet18"
    assert shown["hacnn"] is None
    with pytest.raises(UsageError, match=r"network\.backbone must be hacnn"):
        collect_results(replace(asked, rows=("hacnn",)), {"market1501": MARKET}, {})


def test_a_network_that_cannot_be_built_has_no_cost(tmp_path, monkeypatch):
    """ResNet-18 has 512 channels, too few for the 1,024 orthogonal vectors of SVDNet, which is not asked for."""

    def cost(network, size):
        build_network(network)
        return Cost(parameters=0.75, gflop=0.1)

    monkeypatch.setattr(results, "network_cost", cost)
    table = replace(
        TABLES["beyond"], rows=tuple(row for row in TABLES["beyond"].rows if row.name in ("strong-baseline", "svdnet"))
    )
    asked = asked_for(tmp_path, "strong-baseline", table=table, settings=("network.backbone=resnet18",))
    shown = {row.name: row.cost for row in collect_results(asked, {"market1501": MARKET}, {}).rows}
    assert shown == {"strong-baseline": Cost(parameters=0.75, gflop=0.1), "svdnet": None}
