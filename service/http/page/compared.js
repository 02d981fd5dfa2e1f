// How a case compares in findings: signs and words for each, and which words of its report say so.

const OPPOSITE = { present: "absent", absent: "present" };
const SIGNS = { present: "+", absent: "−", uncertain: "?" };
const MOST = 8;

let names = {};

/** Take the names of concepts, as the service has them. */
export function learn(concepts) {
  names = concepts;
}

/** What a concept is called. */
export const nameOf = (id) => names[id]?.name ?? id;
/** Names of everything that can be asked for as a finding, in order of the alphabet. */
export const findings = () =>
  Object.values(names)
    .filter(({ kind }) => ["finding", "diagnosis", "device", "postoperative"].includes(kind))
    .map(({ name }) => name)
    .sort();
const isA = (one, broader) => one === broader || Boolean(names[one]?.broader.includes(broader));

/** What is shared, contradicted, not in the case and only there: [{ kind, title, items: [{ sign, text }] }]. */
export function lines(comparison) {
  const against = new Set(comparison.contradicting.map(({ concept }) => concept));
  return [
    ["shared", "Shared", comparison.shared],
    ["against", "Contradicting", comparison.contradicting],
    // The rest of a degree or side that is shared in part is no news, and a contradiction is told once.
    ["asked", "Not in this case", comparison.query_only.filter((c) => !c.in_case && !against.has(c.concept))],
    ["only", "Only in this case", comparison.case_only.filter((c) => !c.in_query && !against.has(c.concept))],
  ]
    .map(([kind, title, concepts]) => ({ kind, title, items: told(concepts, kind) }))
    .filter(({ items }) => items.length);
}

function told(concepts, kind) {
  // What only follows from a narrower or broader finding is said where nothing else is.
  const stated = concepts.filter((each) => each.stated);
  const chosen = stated.length || kind !== "shared" ? stated : concepts;
  return chosen.slice(0, MOST).map((each) => ({ sign: SIGNS[each.certainty], text: inWords(each, kind) }));
}

function inWords(each, kind) {
  const notes = [];
  if (kind === "against") notes.push(each.certainty === "present" ? "denied here" : "stated here");
  if (each.side_differs) notes.push("on the other side");
  if (!each.stated) notes.push("implied");
  return nameOf(each.concept) + (notes.length ? ` (${notes.join(", ")})` : "");
}

/** How many findings are shared and contradicted, as the list of cases shows them. */
export function counts(comparison) {
  const stated = (concepts) => concepts.filter((each) => each.stated).length;
  return { shared: stated(comparison.shared), against: stated(comparison.contradicting) };
}

/** The words of a case's report that are shared or contradicting: [{ start, end, kind, sign, title }]. */
export function marks(retrieved) {
  const { comparison, case: { concepts } } = retrieved;
  if (!comparison || !concepts) return [];
  return concepts.mentions.map((mention) => marked(mention, comparison)).filter(Boolean);
}

function marked(mention, comparison) {
  const denies = mention.certainty === "absent";
  const says = denies ? "absent" : "present";
  // A narrower finding also states the broader; a broader denial also denies the narrower.
  const about = (each) =>
    each.concept === mention.concept ||
    (each.stated && (denies ? isA(each.concept, mention.concept) : isA(mention.concept, each.concept)));
  const place = { start: mention.start, end: mention.end };
  const name = nameOf(mention.concept);
  const here = { present: "stated", absent: "denied", uncertain: "left open" }[mention.certainty];
  if (comparison.contradicting.some((each) => each.certainty === OPPOSITE[says] && about(each))) {
    return { ...place, kind: "against", sign: "≠", title: `contradicting: ${name} is ${here} here` };
  }
  const shared = comparison.shared.find((each) => each.certainty === says && about(each));
  if (shared) {
    const side = shared.side_differs ? ", on the other side" : "";
    const sign = SIGNS[mention.certainty] + (shared.side_differs ? "⇄" : "");
    return { ...place, kind: "shared", sign, title: `shared: ${name} is ${here} here${side}` };
  }
  if (comparison.case_only.some((each) => each.certainty === says && each.concept === mention.concept)) {
    return { ...place, kind: "only", sign: "", title: `only in this case: ${name} is ${here} here` };
  }
  return null;
}
