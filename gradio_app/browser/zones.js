// Boxes that people draw over a photograph to leave an area out of its figures; each has a cross that removes it.

const LEAST_ZONE_PX = 3;

// `onChange`: the boxes have changed; each is left, top, right and bottom in pixels.
function createZones(viewer, onChange) {
  const button = viewer.find("ignore"), svg = viewer.find("zones");
  let zones = [], from = null, drawn = null;
  const make = (name, attributes) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const boxOf = ([left, top, right, bottom]) => make("rect", { x: left, y: top, width: right - left, height: bottom - top });
  const draw = () => svg.replaceChildren(...[...zones, ...(drawn ? [drawn] : [])].flatMap((zone, number) => {
    const cross = make("text", { x: zone[2], y: zone[1], dx: "-1.1em", dy: "1.1em", class: "cross", "data-zone": number });
    cross.textContent = "✕";
    const title = make("title", {});
    title.textContent = "Count this area again";
    cross.append(title);
    return [boxOf(zone), cross];
  }));
  const become = (next) => { zones = next; draw(); viewer.leaveOut(zones); onChange(zones); };
  const between = ([ax, ay], [bx, by]) => {
    const [width, height] = viewer.size(), within = (value, most) => Math.max(0, Math.min(most, Math.round(value)));
    return [within(Math.min(ax, bx), width), within(Math.min(ay, by), height), within(Math.max(ax, bx), width), within(Math.max(ay, by), height)];
  };
  const tool = {
    begin: (at) => { from = at; },
    move: (at) => { drawn = between(from, at); draw(); },
    end: (at) => {
      const zone = between(from, at);
      drawn = null;
      if (zone[2] - zone[0] >= LEAST_ZONE_PX && zone[3] - zone[1] >= LEAST_ZONE_PX) become([...zones, zone]); else draw();
      use(false);
    },
    cancel: () => { drawn = null; draw(); },
  };
  const use = (on) => {
    button.setAttribute("aria-pressed", String(on));
    viewer.use(on ? tool : null, on ? () => use(false) : null);
    if (on) viewer.say("Draw a box over what should count in no figure, such as a pipe or a plant.");
    else if (viewer.shown()) viewer.tell();
  };
  button.hidden = false;
  button.addEventListener("click", () => viewer.shown() && use(button.getAttribute("aria-pressed") === "false"));
  return {
    toggle: () => button.click(),
    remove: (number) => become(zones.filter((_, at) => at !== Number(number))),
    show: (next) => { zones = next; drawn = null; draw(); viewer.leaveOut(zones); },
  };
}
