// Grey PNG to numbers, all 16 bits of them: a browser's own decoder keeps 8.
//
// Only what the service sends: grey without alpha, 8 or 16 bits, not interlaced. 8 bits are spread over 16.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** The pixels of a PNG (an ArrayBuffer): { rows, columns, grey }, grey being a Uint16Array with 65535 for white. */
export async function decodePng(buffer) {
  const bytes = new Uint8Array(buffer);
  if (SIGNATURE.some((byte, at) => bytes[at] !== byte)) throw new Error("not a PNG");
  const view = new DataView(buffer);
  const parts = [];
  let header = null;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IHDR") header = readHeader(view, at + 8);
    else if (kind === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + length));
    else if (kind === "IEND") break;
    at += length + 12;
  }
  if (header === null) throw new Error("a PNG without a header");
  const { rows, columns, bits } = header;
  const line = columns * (bits / 8);
  const filtered = await inflated(parts);
  if (filtered.length !== rows * (line + 1)) throw new Error("a PNG of another length than it says");
  return { rows, columns, grey: numbers(unfiltered(filtered, rows, line, bits / 8), rows * columns, bits) };
}

function readHeader(view, at) {
  const [bits, colour, interlaced] = [view.getUint8(at + 8), view.getUint8(at + 9), view.getUint8(at + 12)];
  if (colour !== 0 || interlaced !== 0 || (bits !== 8 && bits !== 16)) throw new Error("not a plain grey PNG");
  return { columns: view.getUint32(at), rows: view.getUint32(at + 4), bits };
}

async function inflated(parts) {
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Each line begins with how it was written: as it is, or as differences from the pixel left, above, or both. */
function unfiltered(from, rows, line, step) {
  const to = new Uint8Array(rows * line);
  for (let row = 0; row < rows; row++) {
    const kind = from[row * (line + 1)];
    const source = row * (line + 1) + 1;
    const here = row * line;
    const above = here - line;
    for (let i = 0; i < line; i++) {
      const left = i < step ? 0 : to[here + i - step];
      const up = row === 0 ? 0 : to[above + i];
      let guess = 0;
      if (kind === 1) guess = left;
      else if (kind === 2) guess = up;
      else if (kind === 3) guess = (left + up) >> 1;
      else if (kind === 4) guess = nearest(left, up, row === 0 || i < step ? 0 : to[above + i - step]);
      else if (kind !== 0) throw new Error("a PNG line of no known kind");
      to[here + i] = from[source + i] + guess;
    }
  }
  return to;
}

/** Paeth's guess: whichever of the three is nearest to left + up - corner. */
function nearest(left, up, corner) {
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

function numbers(bytes, count, bits) {
  const grey = new Uint16Array(count);
  if (bits === 8) for (let i = 0; i < count; i++) grey[i] = bytes[i] * 257;
  else for (let i = 0; i < count; i++) grey[i] = (bytes[2 * i] << 8) | bytes[2 * i + 1];
  return grey;
}
