// Traces a crack: each click paints the path from the last click (`wire.js`); a line shows the path to the pointer in advance.

const SNAP_SCREEN_PX = 7, MOST_SNAP_PX = 30, SAME_SCREEN_PX = 5;
const SVG = "http://www.w3.org/2000/svg";

// `photo` and `probability` return what `startWave` takes; `mask` is painted on; `svg` shows the path in advance; `scale`: of the
// photograph on the screen; `onPaint`: something was painted; `say`: shows a sentence.
function createTracer({ photo, probability, mask, svg, scale, onPaint, say }) {
  let clicks = [], wave = null, pointer = null, looking = 0;  // the wave starts at the last click
  const path = (kind, way) => {
    const made = document.createElementNS(SVG, "path");
    made.setAttribute("class", kind);
    made.setAttribute("d", "M" + way.map((at) => at.join(" ")).join("L"));
    return made;
  };
  const draw = (way) => svg.replaceChildren(
    ...(way ? [path("halo", way), path("way", way)] : []),
    ...clicks.flatMap(([x, y]) => ["halo click", "click"].map((kind) => path(kind, [[x + 0.5, y + 0.5], [x + 0.5, y + 0.5]]))));
  const startAt = (click) => { wave = click && startWave(photo(), probability(), click); pointer = null; draw(); };
  const pixel = ([x, y]) => [Math.floor(x), Math.floor(y)];
  const isInside = ([x, y]) => x >= 0 && y >= 0 && x < photo().width && y < photo().height;
  const onCrack = (at, near) => near.snap(at, Math.max(2, Math.min(MOST_SNAP_PX, Math.round(SNAP_SCREEN_PX / scale()))));
  const end = () => { clicks = []; startAt(null); };
  const click = (at) => {
    if (!isInside(at)) return;
    if (!clicks.length) {
      clicks = [onCrack(at, startWave(photo(), probability(), at))];
      return startAt(clicks[0]);
    }
    const [lastX, lastY] = clicks.at(-1), next = onCrack(at, wave);
    if (clicks.length > 1 && Math.hypot(next[0] - lastX, next[1] - lastY) * scale() < SAME_SCREEN_PX) return end();
    const way = wave.wayTo(next);
    if (!way) return say(`Each click can be at most ${REACH_PX} pixels from the last one. Click nearer to it.`);
    const widths = wave.widthsOf(way);
    mask.touch();
    for (let step = 1; step < way.length; step++) mask.dab(way[step - 1], way[step], widths[step] / 2, 1);
    clicks.push(next);
    startAt(next);
    onPaint();
  };
  return {
    // As a tool of the stage.
    begin: () => {}, move: () => {}, cancel: () => {},
    end: (at) => click(pixel(at)),
    hover: (_, at) => {
      pointer = pixel(at);
      if (wave) looking ||= requestAnimationFrame(() => {
        looking = 0;
        if (wave && pointer) draw(isInside(pointer) ? wave.wayTo(onCrack(pointer, wave)) : null);
      });
    },
    finish: () => (clicks.length ? end() : false),
    drop: () => {
      if (!clicks.length) return false;
      const n = clicks.length - 1;
      for (let step = 0; step < n; step++) mask.forget();
      end();
      if (n) onPaint();
    },
    // Takes the last click back; returns whether there was one.
    back: () => {
      if (!clicks.length) return false;
      const isPainted = clicks.length > 1;
      clicks.pop();
      if (isPainted) mask.undo();
      startAt(clicks.at(-1));
      if (isPainted) onPaint();
      return true;
    },
  };
}
