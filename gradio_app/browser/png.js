// A mask as a PNG of one grey channel, 0 or 255, which is what the sidecar takes: a canvas would write four.

const CRC = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function pngChunk(name, data) {
  const chunk = new Uint8Array(data.length + 12), view = new DataView(chunk.buffer);
  view.setUint32(0, data.length);
  chunk.set([...name].map((letter) => letter.charCodeAt(0)), 4);
  chunk.set(data, 8);
  let crc = 0xffffffff;
  for (let at = 4; at < data.length + 8; at++) crc = (crc >>> 8) ^ CRC[(crc ^ chunk[at]) & 255];
  view.setUint32(data.length + 8, ~crc);
  return chunk;
}

// `mask`: 0 or 1 for each pixel, row by row.
async function greyPng(mask, width, height) {
  const rows = new Uint8Array(height * (width + 1));  // each begins with the number of its filter, 0: none
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) rows[row * (width + 1) + 1 + column] = mask[row * width + column] * 255;
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width); header.setUint32(4, height); header.setUint8(8, 8);
  return new Blob([
    new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    pngChunk("IHDR", new Uint8Array(header.buffer)),
    pngChunk("IDAT", new Uint8Array(await new Response(packed).arrayBuffer())),
    pngChunk("IEND", new Uint8Array()),
  ], { type: "image/png" });
}
