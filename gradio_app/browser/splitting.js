// Splits a crack in two by a cut across it, two pixels wide. The pointer shows where; for the selected crack, the arrow keys move
// the mark and Enter cuts.

const NEAR_LINE_PX = 24, STEP_PX = 8, LEAST_MARK_PX = 10;  // on the screen
const DIRECTION_PX = 5;  // of the line to both sides, which give its direction

// `features` returns the cracks; `chosen` the selected one, if there is one.
function createSplitter(viewer, button, features, chosen) {
  const svg = viewer.find("wire");
  let place = null;  // a crack, one of its lines in steps of at most one pixel, and the index of the step
  const dense = (line) => line.flatMap(([x, y], at) => {
    const [fromX, fromY] = line[Math.max(0, at - 1)], n = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY)));
    return Array.from({ length: n }, (_, step) => [fromX + ((x - fromX) * (step + 1)) / n, fromY + ((y - fromY) * (step + 1)) / n]);
  });
  const waysOf = ({ geometry: { type, coordinates } }) => (type === "LineString" ? [coordinates] : coordinates).map(dense);
  const nearest = ([x, y]) => {
    let found = null, least = NEAR_LINE_PX / viewer.scale();
    for (const feature of features())
      for (const way of waysOf(feature))
        way.forEach(([ownX, ownY], at) => {
          const away = Math.hypot(x - ownX, y - ownY);
          if (away < least) { least = away; found = { crack: feature.properties, way, at }; }
        });
    return found;
  };
  const middle = (feature) => {  // of its longest line
    const [way] = waysOf(feature).sort((one, other) => other.length - one.length);
    return { crack: feature.properties, way, at: way.length >> 1, isByKeys: true };
  };
  const cutAt = ({ crack, way, at }) => {
    const [ax, ay] = way[Math.max(0, at - DIRECTION_PX)], [bx, by] = way[Math.min(way.length - 1, at + DIRECTION_PX)];
    const long = Math.hypot(bx - ax, by - ay) || 1;
    return { at: way[at], along: [(bx - ax) / long, (by - ay) / long], reach: 4 + (crack.width_max_px ?? crack.width_limit_px) };
  };
  const draw = () => {
    if (!place) return svg.replaceChildren();
    const { at: [x, y], along: [dx, dy], reach } = cutAt(place), far = Math.max(reach, LEAST_MARK_PX / viewer.scale());
    svg.replaceChildren(...["halo", "way"].map((kind) => {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("class", kind);
      path.setAttribute("d", `M${x - dy * far} ${y + dx * far}L${x + dy * far} ${y - dx * far}`);
      return path;
    }));
  };
  const cut = () => {
    if (!place) return false;
    const { at, along, reach } = cutAt(place);
    use(false);
    viewer.sever(at, along, reach);
  };
  const tool = {
    begin: () => {}, move: () => {}, cancel: () => {},
    hover: (_, at) => {  // browsers also report a pointer at rest, which must not move the mark that the keys have set
      const near = nearest(at);
      if (near || !place?.isByKeys) { place = near; draw(); }
    },
    end: (at) => { place = nearest(at); place ? cut() : viewer.say("Click on a crack where you want to split it."); },
  };
  const isOn = () => button.getAttribute("aria-pressed") === "true";
  const use = (on) => {
    button.setAttribute("aria-pressed", String(on));
    viewer.use(on ? tool : null, on ? () => use(false) : null);
    place = on && chosen() ? middle(chosen()) : null;
    draw();
    if (on) viewer.say(place ? "Click where you want to split the crack, or move the mark with ← and → and press Enter." : "Click on a crack where you want to split it.");
    else if (viewer.shown()) viewer.tell();
  };
  button.addEventListener("click", () => viewer.shown() && use(!isOn()));
  return {
    toggle: () => button.click(),
    // These return false if no split has begun.
    cut,
    step: (by) => {  // of the mark, along its line
      if (!place) return false;
      place.at = Math.max(0, Math.min(place.way.length - 1, place.at + by * Math.max(1, Math.round(STEP_PX / viewer.scale()))));
      draw();
    },
  };
}
