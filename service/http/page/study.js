// The study that somebody brings: its files, its images, and the cases of the index that can be taken instead.

import * as service from "./service.js";
import { decodePng } from "./png.js";

const EXAMPLES = ["pleural effusion", "cardiomegaly", "pneumothorax", "consolidation", "pulmonary nodule", "lung opacity"];
const MOST_EXAMPLES = 4;

/** A study of one's own files: { files, view, patientKey, own, images }, `images` decoded for the eye. */
export async function studyOfFiles(files, signal) {
  const images = await Promise.all(files.map(async (file) => decoded(await service.imageOfFile(file, signal))));
  return { files, view: "", patientKey: null, own: null, images };
}

/** An indexed case as if it were somebody's study; its patient's own cases are left out by the pseudonym. */
export async function studyOfCase(caseId, signal) {
  const own = await service.caseOf(caseId);
  const pngs = await Promise.all(
    own.images.map((_, number) => service.imageOfCase(caseId, number, { bits: "16" }, signal)),
  );
  const images = await Promise.all(pngs.map(decoded));
  // One view is said for all images: where they differ the service looks for itself.
  const view = new Set(own.images.map((image) => image.view)).size === 1 ? own.images[0].view : "";
  return { files: pngs, view: view === "UNKNOWN" ? "" : view, patientKey: own.patient_key, own, images };
}

/** A few cases with different findings, to begin with: [{ case, finding }]. */
export async function examples() {
  const found = [];
  for (const finding of EXAMPLES) {
    if (found.length === MOST_EXAMPLES) break;
    const { evidence } = await service.similar({ findings: [finding], limit: 3 });
    const fresh = evidence.cases.find(({ case: { case_id: id } }) => found.every((each) => each.case.case_id !== id));
    if (fresh) found.push({ case: fresh.case, finding });
  }
  return found;
}

/** A PNG for the eye. */
export async function decoded(png) {
  return decodePng(await png.arrayBuffer());
}
