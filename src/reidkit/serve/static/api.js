// Calls of the service. A refusal is a `Problem`; a service that cannot be reached is a `TypeError` of fetch.

export class Problem extends Error {
  constructor(body, status, retryAfter) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.body = body;
    this.status = status;
    this.kind = String(body.type || "").split("/").pop();
    this.retryAfter = retryAfter;
  }

  /** The number under which the log of the service knows the request. */
  get number() {
    return String(this.body.instance || "").replace("urn:uuid:", "");
  }
}

/** Call the service, and return its JSON; null where there is none. */
export async function call(method, path, { json, form, signal } = {}) {
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  const body = json === undefined ? form : JSON.stringify(json);
  const answer = await fetch(path, { method, headers, body, signal, credentials: "same-origin" });
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = {};
  }
  if (!answer.ok) throw new Problem(value || {}, answer.status, Number.parseInt(answer.headers.get("Retry-After"), 10));
  return value;
}

/** Return a form with a request and pictures. */
export function formOf(request, pictures) {
  const form = new FormData();
  form.append("request", JSON.stringify(request));
  for (const [name, blob] of pictures) form.append(name, blob, "picture");
  return form;
}
