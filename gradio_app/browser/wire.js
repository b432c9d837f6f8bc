// A live wire: the cheapest path between two points of a photograph, along dark or probably cracked pixels, and how wide the
// crack is there. After E. N. Mortensen and W. A. Barrett, "Intelligent scissors for image composition", SIGGRAPH 1995 (a wave of
// costs runs from the last click, and gives the path to the pointer). Their costs find edges, these find dark lines.
// Only a window around the last click is computed, as far as the wave has to run. Left to others: clicks (`tracing.js`).

const REACH_PX = 640;  // from a click to the next, at most: half the window's side
const OWN_PX = 1, NEAR_PX = 5, FAR_PX = 20;  // half sides of the squares that are compared: the line and its surroundings
const DEAREST = 63, N_BUCKETS = 512;  // the highest cost of a pixel; more buckets than the longest step costs
const STEPS_X = [1, 0, -1, 0, 1, -1, -1, 1], STEPS_Y = [0, 1, 0, -1, 1, 1, -1, -1];  // the last four are √2 long: 7 to 5
const WIDEST_PX = 40, MEDIAN_OF = 21;

// `photo`: its width and height, and `pixels`, which gives those of a part; `probability`: 0 to 255 for each of its pixels, or null; `seed`: x and y, whole pixels within it.
function startWave(photo, probability, seed) {
  const left = Math.max(0, seed[0] - REACH_PX), top = Math.max(0, seed[1] - REACH_PX);
  const width = Math.min(photo.width, seed[0] + REACH_PX + 1) - left, height = Math.min(photo.height, seed[1] + REACH_PX + 1) - top;
  const data = photo.pixels(left, top, width, height);
  const grey = new Uint8Array(width * height), sums = new Uint32Array((width + 1) * (height + 1));
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0, row = 0, next = (y + 1) * (width + 1) + 1; x < width; x++, at++, next++) {
      grey[at] = (77 * data[4 * at] + 150 * data[4 * at + 1] + 29 * data[4 * at + 2]) >> 8;
      row += grey[at];
      sums[next] = sums[next - width - 1] + row;
    }
  const mean = (x, y, by) => {
    const x0 = Math.max(0, x - by), y0 = Math.max(0, y - by) * (width + 1), x1 = Math.min(width, x + by + 1), y1 = Math.min(height, y + by + 1) * (width + 1);
    return (sums[y1 + x1] - sums[y1 + x0] - sums[y0 + x1] + sums[y0 + x0]) / ((x1 - x0) * ((y1 - y0) / (width + 1)));
  };
  const darkness = (x, y) => Math.max(mean(x, y, NEAR_PX), mean(x, y, FAR_PX)) - mean(x, y, OWN_PX);
  let rough = 0, n = 0;
  for (let y = 0; y < height; y += 13) for (let x = 0; x < width; x += 11, n++) rough += Math.abs(darkness(x, y));
  const clear = 4 + (4 * rough) / n;  // darker than the surface's texture
  const likely = (x, y) => (probability ? probability[(y + top) * photo.width + x + left] / 255 : 0);
  const strength = (x, y) => Math.min(1, Math.max(likely(x, y), darkness(x, y) / clear));

  const prices = new Uint8Array(width * height);  // of each pixel, 0: not computed yet
  const priceOf = (x, y, at) => (prices[at] ||= 1 + Math.round(DEAREST * (1 - Math.max(0, strength(x, y))) ** 2));
  const costs = new Uint32Array(width * height).fill(0xffffffff), from = new Uint8Array(width * height), isDone = new Uint8Array(width * height);
  const buckets = Array.from({ length: N_BUCKETS }, () => []);
  let cost = 0, nWaiting = 1;
  const start = (seed[1] - top) * width + seed[0] - left;
  costs[start] = 0;
  buckets[0].push(start);
  const run = (until) => {  // runs the wave until it reaches a pixel
    while (nWaiting && !isDone[until]) {
      const bucket = buckets[cost % N_BUCKETS];
      if (!bucket.length) { cost++; continue; }
      const at = bucket.pop(), x = at % width, y = (at - x) / width;
      nWaiting--;
      if (isDone[at]) continue;
      isDone[at] = 1;
      for (let step = 0; step < 8; step++) {
        const toX = x + STEPS_X[step], toY = y + STEPS_Y[step], to = toY * width + toX;
        if (toX < 0 || toY < 0 || toX >= width || toY >= height || isDone[to]) continue;
        const next = costs[at] + (step < 4 ? 5 : 7) * priceOf(toX, toY, to);
        if (next >= costs[to]) continue;
        costs[to] = next;
        from[to] = step;
        buckets[next % N_BUCKETS].push(to);
        nWaiting++;
      }
    }
  };
  const isInside = (x, y) => x >= left && y >= top && x < left + width && y < top + height;
  return {
    // The path from the seed to a pixel, as points in the photograph; null if the pixel is too far away.
    wayTo: ([toX, toY]) => {
      if (!isInside(toX, toY)) return null;
      let at = (toY - top) * width + toX - left;
      run(at);
      const way = [];
      for (;;) {
        const x = at % width, y = (at - x) / width;
        way.push([x + left + 0.5, y + top + 0.5]);
        if (at === start) return way.reverse();
        at -= STEPS_Y[from[at]] * width + STEPS_X[from[at]];
      }
    },
    // The point near a click that looks most like a crack.
    snap: ([aboutX, aboutY], radius) => {
      let best = [aboutX, aboutY], most = -1;
      for (let y = aboutY - radius; y <= aboutY + radius; y++)
        for (let x = aboutX - radius; x <= aboutX + radius; x++) {
          const away = Math.hypot(x - aboutX, y - aboutY);
          if (away > radius || !isInside(x, y)) continue;
          const found = strength(x - left, y - top) - (0.3 * away) / radius;
          if (found > most) { most = found; best = [x, y]; }
        }
      return best;
    },
    // The line's width at each point of a path: across it, as far as it is half as dark as in its middle or, where it is not
    // clearly dark, as far as it is probably crack. Smoothed by a running median over `MEDIAN_OF` points.
    widthsOf: (way) => {
      const found = way.map(([x, y], at) => {
        const [ax, ay] = way[Math.max(0, at - 4)], [bx, by] = way[Math.min(way.length - 1, at + 4)];
        const long = Math.hypot(bx - ax, by - ay) || 1, acrossX = (ay - by) / long, acrossY = (bx - ax) / long;
        const place = (t) => [Math.floor(x + acrossX * t) - left, Math.floor(y + acrossY * t) - top];
        const [ownX, ownY] = place(0), around = Math.max(mean(ownX, ownY, NEAR_PX), mean(ownX, ownY, FAR_PX));
        const depth = (t) => { const [px, py] = place(t); return px < 0 || py < 0 || px >= width || py >= height ? 0 : around - grey[py * width + px]; };
        const chance = (t) => { const [px, py] = place(t); return px < 0 || py < 0 || px >= width || py >= height ? 0 : likely(px, py); };
        const run = (value, least) => {
          let middle = 0;
          for (let t = -1.5; t <= 1.5; t += 0.5) if (value(t) > value(middle)) middle = t;
          let low = middle, high = middle;
          const half = least ?? value(middle) / 2;
          while (low > -WIDEST_PX / 2 && value(low - 0.5) >= half) low -= 0.5;
          while (high < WIDEST_PX / 2 && value(high + 0.5) >= half) high += 0.5;
          return high - low + 0.5;
        };
        if (darkness(ownX, ownY) >= clear / 2) return run(depth);
        return likely(ownX, ownY) >= 0.5 ? run(chance, 0.5) : 1;
      });
      return found.map((_, at) => {
        const near = found.slice(Math.max(0, at - (MEDIAN_OF >> 1)), at + (MEDIAN_OF >> 1) + 1).sort((one, other) => one - other);
        return near[near.length >> 1];
      });
    },
  };
}
