// What the page asks of the service: the same routes that any caller has. The API key lives in this module's memory.

let key = "";

/** Ask with this API key from now on; it is kept nowhere else and is gone with the page. */
export function useKey(secret) {
  key = secret.trim();
}

/** What the service refused, with what to do about it. */
export class Problem extends Error {
  constructor({ title, detail, fix, status, code, trace_id: trace, errors = [] }) {
    super(title || "The service did not answer");
    Object.assign(this, { title: this.message, detail: detail || "", fix: fix || "", status: status || 0 });
    Object.assign(this, { code: code || "", trace: trace || "", faults: errors });
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The service cannot be reached", fix: "see whether it is running, then try again" });
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ title: `The service answered ${answer.status}` }));
    throw new Problem({ status: answer.status, ...told });
  }
  return answer;
}

const json = async (path, options) => (await ask(path, options)).json();
const placeOf = (caseId) => `/v1/cases/${caseId.split("/").map(encodeURIComponent).join("/")}`;

/** What the service can do. */
export const capabilities = () => json("/v1/capabilities");
/** What concepts are called, and which are broader, by id. */
export const conceptNames = () => json("/page/concepts.json");
/** A case with its report. */
export const caseOf = (caseId) => json(placeOf(caseId));

/** Cases found in words, by findings, or like a case. */
export function similar(request, signal) {
  const headers = { "Content-Type": "application/json" };
  return json("/v1/similar-cases", { method: "POST", headers, body: JSON.stringify(request), signal });
}

/** Cases similar to a study: { files, view, patientKey }. */
export function similarToStudy(study, request, signal) {
  const form = images(study, { ...request, patient_key: study.patientKey });
  if (study.view) form.append("view", study.view);
  return json("/v1/similar-cases/of-study", { method: "POST", body: form, signal });
}

/** The draft of a study as a stream of events. */
export async function draftOf(study, indication, signal) {
  const asked = { view: study.view || null, patient_key: study.patientKey, indication: indication || null };
  const headers = { Accept: "text/event-stream" };
  return (await ask("/v1/drafts", { method: "POST", body: images(study, asked), headers, signal })).body;
}

function images(study, request) {
  const form = new FormData();
  for (const file of study.files) form.append("images", file, "image");
  form.append("request", JSON.stringify(request));
  return form;
}

/** An image of a case as PNG. */
export async function imageOfCase(caseId, number, wanted, signal) {
  return (await ask(`${placeOf(caseId)}/images/${number}?${new URLSearchParams(wanted)}`, { signal })).blob();
}

/** One's own image as 16-bit grey PNG, whatever it was. */
export async function imageOfFile(file, signal) {
  const form = new FormData();
  form.append("image", file, "image");
  return (await ask("/v1/images?bits=16", { method: "POST", body: form, signal })).blob();
}
