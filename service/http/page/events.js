// Server-sent events of an answer to a POST, which the browser's own EventSource cannot ask for.

/** Each event of a stream of bytes as { event, data }, data being read as JSON. */
export async function* eventsOf(stream) {
  let waiting = "";
  for await (const text of chunks(stream.pipeThrough(new TextDecoderStream()))) {
    waiting += text;
    for (let end = waiting.indexOf("\n\n"); end >= 0; end = waiting.indexOf("\n\n")) {
      const told = parsed(waiting.slice(0, end));
      waiting = waiting.slice(end + 2);
      if (told) yield told;
    }
  }
}

async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    reader.releaseLock();
  }
}

/** One event; null for a comment, by which the service says only that it is still there. */
function parsed(block) {
  const lines = block.split("\n");
  const field = (name) =>
    lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2)).join("\n");
  const data = field("data");
  return data ? { event: field("event"), data: JSON.parse(data) } : null;
}
