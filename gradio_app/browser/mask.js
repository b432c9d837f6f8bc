// The mask of a photograph: 0 or 1 for each pixel, drawn on a layer of the photograph's size, and the areas marked as looking
// like a crack (box and kind). Brush strokes, undo and redo.

const LOOKS = { red: "#ff0040", cyan: "#00e5ff", outline: "#00e5ff" };
const EDGE_PX = 2;  // of an outline: a bright line around the crack, and a black one around it
const PATCH_PX = 256;  // a new threshold redraws only the patches it changes: few of a photograph's
const MOST_UNDO = 50, MOST_UNDO_BYTES = 4e8;
const BAND_PX = 1024;  // rows that are drawn at a time

function createMask(layer) {
  let width = 0, height = 0, data = new Uint8Array(), marked = [], isTouched = false, undone = [], done = [];
  let look = "red", tints = null, palette = [];  // tints: in the look "width", the index of each pixel's colour in the palette

  const packed = (colour) => {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  };
  const paintEdge = (pixels, left, top, right, bottom, bright) => {
    const black = packed("#000000"), set = (x, y, colour) => {
      if (x < left || y < top || x >= right || y >= bottom || data[y * width + x]) return;
      const at = (y - top) * (right - left) + x - left;
      if (pixels[at] !== bright) pixels[at] = colour;
    };
    for (let row = Math.max(0, top - EDGE_PX); row < Math.min(height, bottom + EDGE_PX); row++)
      for (let column = Math.max(0, left - EDGE_PX), at = row * width + column; column < Math.min(width, right + EDGE_PX); column++, at++) {
        if (!data[at] || (data[at - 1] && data[at + 1] && data[at - width] && data[at + width])) continue;
        for (let y = -EDGE_PX; y <= EDGE_PX; y++)
          for (let x = -EDGE_PX; x <= EDGE_PX; x++) set(column + x, row + y, Math.max(Math.abs(x), Math.abs(y)) < EDGE_PX ? bright : black);
      }
  };
  const repaint = (left = 0, top = 0, right = width, bottom = height) => {
    for (let from = top; from < bottom; from += BAND_PX) paint(left, from, right, Math.min(bottom, from + BAND_PX));
  };
  const paint = (left, top, right, bottom) => {
    if (look === "outline") { left -= EDGE_PX; top -= EDGE_PX; right += EDGE_PX; bottom += EDGE_PX; }
    left = Math.max(0, left); top = Math.max(0, top); right = Math.min(width, right); bottom = Math.min(height, bottom);
    if (right <= left || bottom <= top) return;
    const part = new ImageData(right - left, bottom - top), pixels = new Uint32Array(part.data.buffer);
    if (look === "outline") paintEdge(pixels, left, top, right, bottom, packed(LOOKS.outline));
    else {
      const colours = look === "width" ? palette.map(packed) : [packed(LOOKS[look])];
      for (let row = top, at = 0; row < bottom; row++)
        for (let index = row * width + left; index < row * width + right; index++, at++)
          if (data[index]) pixels[at] = colours[tints ? tints[index] : 0];
    }
    layer.put(part, left, top);
  };
  const state = () => ({ data: data.slice(), marked, isTouched });
  const touch = () => {
    done.push(state());
    undone = [];
    if (done.length > MOST_UNDO || done.length * data.length > MOST_UNDO_BYTES) done.shift();
    isTouched = true;
  };
  const go = (from, to) => {
    const next = from.pop();
    if (!next) return false;
    to.push(state());
    ({ data, marked, isTouched } = next);
    repaint();
    return true;
  };
  const dab = ([fromX, fromY], [toX, toY], radius, value) => {
    const n = Math.max(1, Math.ceil(Math.hypot(toX - fromX, toY - fromY)));
    for (let step = 0; step <= n; step++) {
      const cx = fromX + ((toX - fromX) * step) / n, cy = fromY + ((toY - fromY) * step) / n;
      for (let row = Math.max(0, Math.floor(cy - radius)); row <= Math.min(height - 1, Math.ceil(cy + radius)); row++)
        for (let column = Math.max(0, Math.floor(cx - radius)); column <= Math.min(width - 1, Math.ceil(cx + radius)); column++)
          if (Math.hypot(column + 0.5 - cx, row + 0.5 - cy) <= Math.max(radius, 0.71)) data[row * width + column] = value;
    }
    const margin = Math.ceil(radius) + 2;
    repaint(Math.floor(Math.min(fromX, toX)) - margin, Math.floor(Math.min(fromY, toY)) - margin,
      Math.ceil(Math.max(fromX, toX)) + margin, Math.ceil(Math.max(fromY, toY)) + margin);
  };
  const flood = (places, isIn, visit) => {
    const found = [];
    const look = (x, y) => {
      const at = y * width + x;
      if (x < 0 || y < 0 || x >= width || y >= height || !isIn(at)) return;
      visit(at, x, y);
      found.push(at);
    };
    const around = (x, y) => { for (let row = y - 1; row <= y + 1; row++) for (let column = x - 1; column <= x + 1; column++) look(column, row); };
    for (const [x, y] of places) around(Math.floor(x), Math.floor(y));
    while (found.length) { const at = found.pop(), x = at % width; around(x, (at - x) / width); }
  };
  return {
    touch, dab,
    undo: () => go(done, undone),
    redo: () => go(undone, done),
    forget: () => { const last = done.pop(); if (last) ({ data, marked, isTouched } = last); repaint(); },  // drops a stroke that was cancelled
    begin: (size) => { [width, height] = size; layer.begin(size); tints = look === "width" ? new Uint8Array(width * height) : null; data = new Uint8Array(width * height); marked = []; isTouched = false; done = []; undone = []; },
    fill: (next, hasPainting, marks = []) => { data = next; isTouched = hasPainting; marked = marks; repaint(); },
    cut: (probability, level) => {
      for (let top = 0; top < height; top += PATCH_PX)
        for (let left = 0; left < width; left += PATCH_PX) {
          const right = Math.min(width, left + PATCH_PX), bottom = Math.min(height, top + PATCH_PX);
          let isOther = false;
          for (let row = top; row < bottom; row++)
            for (let at = row * width + left, end = row * width + right; at < end; at++) {
              const value = probability[at] >= level ? 1 : 0;
              if (data[at] !== value) { data[at] = value; isOther = true; }
            }
          if (isOther) repaint(left, top, right, bottom);
        }
    },
    wipe: () => { data.fill(0); repaint(); },
    // Removes the connected parts under the points of a line; returns their box.
    erase: (places) => {
      const box = [width, height, 0, 0];
      flood(places, (at) => data[at], (at, x, y) => {
        data[at] = 0;
        box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y); box[2] = Math.max(box[2], x + 1); box[3] = Math.max(box[3], y + 1);
      });
      repaint(...box);
      return box;
    },
    // Cuts what is connected to a point, two pixels wide, at a right angle to `along` and at most `reach` pixels to both sides.
    sever: ([x, y], [dx, dy], reach) => {
      const isNear = (at) => {
        const px = (at % width) + 0.5 - x, py = Math.floor(at / width) + 0.5 - y;
        return Math.abs(px * dx + py * dy) <= 1 && Math.abs(px * dy - py * dx) <= reach;
      };
      flood([[x, y]], (at) => data[at] && isNear(at), (at) => { data[at] = 0; });
      repaint(Math.floor(x - reach) - 2, Math.floor(y - reach) - 2, Math.ceil(x + reach) + 2, Math.ceil(y + reach) + 2);
    },
    // Sets the look: a name in `LOOKS`, or "width": `lines` have points and an index of `colours`, whose first is for all others.
    draw: (next, colours = [], lines = []) => {
      look = next; palette = colours;
      tints = look === "width" ? new Uint8Array(data.length) : null;
      for (const { places, colour } of tints ? lines.filter((line) => line.colour) : []) flood(places, (at) => data[at] && !tints[at], (at) => { tints[at] = colour; });
      repaint();
    },
    mark: (box, kind) => { marked = [...marked, { box, kind }]; },
    marked: () => marked,
    data: () => data,
    isTouched: () => isTouched,
    // Counts the pixels outside these boxes, and the crack pixels among them.
    count: (zones) => {
      let nCrack = 0, nAll = 0;
      for (let row = 0, at = 0; row < height; row++) {
        const here = zones.filter(([, top, , bottom]) => row >= top && row < bottom);
        if (!here.length) {
          for (const end = at + width; at < end; at++) nCrack += data[at];
          nAll += width;
          continue;
        }
        for (let column = 0; column < width; column++, at++) {
          if (here.some(([left, , right]) => column >= left && column < right)) continue;
          nAll++;
          nCrack += data[at];
        }
      }
      return { nCrack, nAll };
    },
    isEmpty: () => !data.includes(1),
  };
}
