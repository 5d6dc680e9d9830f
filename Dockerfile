# syntax=docker/dockerfile:1
# reidkit as a service or as a command:
#   docker build --target cpu -t reidkit:cpu .
#   docker build --target cuda -t reidkit:cuda .     # with `docker run --gpus all`
# Both run as a user without rights, keep their data in /data, and answer on port 8000.

FROM python:3.12-slim-bookworm AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir build==1.3.0 \
    && python -m build --wheel --outdir /dist

FROM python:3.12-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    XDG_CACHE_HOME=/data/cache
RUN useradd --create-home --uid 10001 reidkit \
    && install -d -o reidkit -g reidkit /data
COPY --from=wheel /dist/ /dist/
WORKDIR /data
VOLUME /data
EXPOSE 8000
# Ready once the model is loaded and the gallery open; 503 until then.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
ENTRYPOINT ["reidkit"]
CMD ["--help"]

# The CPU build of torch: a tenth of the size.
FROM base AS cpu
RUN pip install --index-url https://download.pytorch.org/whl/cpu "torch>=2.6,<2.14" \
    && pip install "$(echo /dist/*.whl)[serve,milvus,export]"
USER 10001:10001

# The CUDA build, which brings CUDA's libraries along: the host needs NVIDIA's driver and container toolkit alone.
FROM base AS cuda
RUN pip install "torch>=2.6,<2.14" \
    && pip install "$(echo /dist/*.whl)[serve,milvus,export]"
USER 10001:10001
