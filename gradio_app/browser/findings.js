// Lists the cracks of the photograph beside it: a row and its line light up together. Lengths are in pixels or, with a scale, in
// millimetres. The scale is typed in, or set by drawing a ruler over a known length.

const FINDINGS = `
  <div class="scale bar">
    <label>Scale <input type="text" inputmode="decimal" class="mm" placeholder="none"> mm per px</label>
    <button type="button" class="ruler" aria-pressed="false" title="Draw a line over something whose length you know (L)">Ruler</button>
    <button type="button" class="scale-all" title="Use this scale for all photographs of the batch" hidden>For all</button>
  </div>
  <form class="known bar" hidden><label>The line is <input type="text" inputmode="decimal" class="known-mm" required> mm long</label>
    <button class="primary">Set scale</button></form>
  <p class="scale-source"></p>
  <p class="sum" role="status" aria-live="polite"></p>
  <div class="bar verdicts" role="toolbar" aria-label="The selected crack" hidden>
    <button type="button" data-kind="" title="Remove it from the mask (Delete)">Delete</button>
    <button type="button" class="apart" aria-pressed="false" title="Cut a crack in two (S)">Split</button>
    <button type="button" class="back" title="Undo (Ctrl+Z)">Undo</button>
    <span class="line">Mark as no crack:</span>
    <button type="button" data-kind="joint" title="Remove it and mark it as a joint (1)">Joint</button>
    <button type="button" data-kind="lane_marking" title="Remove it and mark it as a lane marking (2)">Lane marking</button>
    <button type="button" data-kind="cable" title="Remove it and mark it as a cable (3)">Cable</button>
    <button type="button" data-kind="other" title="Remove it and mark it as something else that looks like a crack (4)">Other</button>
  </div>
  <div class="rows"><table role="grid" aria-label="Cracks" hidden>
    <thead><tr><th scope="col">#</th><th scope="col" class="length"></th><th scope="col" class="width"></th><th scope="col" title="How sure the model is that these pixels are crack, from 0 to 1">Probability</th></tr></thead>
    <tbody></tbody></table></div>`;
const MOST_ROWS = 300, AGAIN_MS = 5000;
// By width; the first colour is for cracks too narrow to measure. Neighbours differ in lightness for people who are colour-blind.
const BY_WIDTH = ["#c8bfff", "#00c8ff", "#00e0b0", "#9be800", "#ffe100", "#ffb000", "#ff7a00", "#ff3b1f", "#e0007a", "#b400ff"];

// `measure` returns the cracks of the photograph on the screen; `onScale`: the scale was set, for it or for all photographs.
function createFindings(root, viewer, measure, onScale) {
  root.innerHTML = FINDINGS;
  viewer.find("look").add(new Option("by width", "width"));
  const find = (name) => root.querySelector("." + name), rows = root.querySelector("tbody"), lines = viewer.find("lines");
  let features = [], classes = null, scale = null, lit = null, asked = 0, timer = 0, line = null;

  const chosen = () => features.find(({ properties }) => String(properties.id) === lit);
  const inUnits = (value) => (scale ? value * scale.mm_per_px : value);
  const rounded = (value) => (value >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3))));  // as reports do
  const widthOf = (crack) => crack.is_width_below_limit ? "< " + rounded(inUnits(crack.width_limit_px)) : rounded(inUnits(crack.width_max_px));
  const tell = () => {
    const unit = scale ? "mm" : "px", told = features.slice(0, MOST_ROWS);
    find("length").textContent = `Length, ${unit}`;
    find("width").textContent = `Widest, ${unit}`;
    if (document.activeElement !== find("mm")) find("mm").value = scale ? Number(scale.mm_per_px.toPrecision(4)) : "";  // otherwise somebody is typing
    find("scale-source").textContent = scale ? scale.source : "Without a scale, all lengths are in pixels.";
    find("scale-all").hidden = !scale;
    rows.replaceChildren(...told.map(({ properties: crack }, at) => {
      const row = document.createElement("tr");
      row.dataset.line = crack.id;
      row.tabIndex = at ? -1 : 0;
      row.setAttribute("aria-selected", "false");
      const length = (crack.touches_edge ? "≥ " : "") + rounded(inUnits(crack.length_px));
      for (const text of [crack.id, length, widthOf(crack), crack.probability_mean.toFixed(2)]) row.insertCell().textContent = text;
      if (crack.touches_edge) row.cells[1].title = "It reaches the edge of the photograph and may continue beyond it.";
      if (crack.is_width_below_limit) row.cells[2].title = "Too narrow to measure in this photograph.";
      return row;
    }));
    root.querySelector("table").hidden = !told.length;
    find("verdicts").hidden = !told.length && !viewer.isTouched();
    const total = features.reduce((sum, { properties: crack }) => sum + crack.length_px, 0), n = features.length;
    const more = n > MOST_ROWS ? ` The ${MOST_ROWS} longest are listed.` : "";
    find("sum").textContent = n ? `${n} ${n === 1 ? "crack" : "cracks"}, ${rounded(inUnits(total))} ${unit} in total.${more}`
      : viewer.isEmpty() ? "No crack is marked. If there is one, lower the threshold or press Correct and paint it." : "No crack is long enough to measure.";
    light(lit, false);
    tint();
  };
  const placesOf = ({ geometry: { type, coordinates } }) => (type === "LineString" ? coordinates : coordinates.flat());
  const tint = () => {
    if (!classes) return;
    const { bounds, names } = classes[scale ? "mm" : "px"], counts = names.map(() => 0);
    const found = features.map((feature) => {
      const width = feature.properties.width_p95_px;
      const rank = width == null ? 0 : 1 + bounds.filter((bound) => inUnits(width) > bound).length;
      counts[rank]++;
      return { places: placesOf(feature), colour: rank };
    });
    const legend = names.map((name, rank) => ({ colour: BY_WIDTH[rank], text: `${name}: ${counts[rank]}` }));
    viewer.tint(BY_WIDTH, found, legend.filter((_, rank) => counts[rank]));
  };
  const draw = () => {
    lines.replaceChildren(...features.flatMap(({ geometry, properties: crack }) => {
      const parts = geometry.type === "LineString" ? [geometry.coordinates] : geometry.coordinates;
      const way = parts.map((part) => "M" + part.map(([x, y]) => `${x} ${y}`).join("L")).join("");
      return ["line", "near"].map((kind) => {
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("d", way);
        path.setAttribute("class", kind);
        path.dataset.line = crack.id;
        return path;
      });
    }));
    if (line) drawLine();
  };
  const light = (id, isRevealed = true) => {
    lit = id === null ? null : String(id);
    for (const each of [...rows.children, ...lines.children]) each.classList.toggle("lit", each.dataset.line === lit);
    for (const row of rows.children) {
      const isLit = row.dataset.line === lit;
      row.setAttribute("aria-selected", String(isLit));
      if (isLit && isRevealed) row.scrollIntoView({ block: "nearest" });
      if (lit !== null) row.tabIndex = isLit ? 0 : -1;
    }
    for (const button of root.querySelectorAll("[data-kind]")) button.disabled = lit === null;
    const crack = chosen();
    if (crack && isRevealed) viewer.stage.reveal(...crack.properties.bbox_px);
  };
  const step = (by) => {
    const at = [...rows.children].findIndex((row) => row.dataset.line === lit), next = rows.children[at + by];
    if (next) { light(next.dataset.line); if (root.contains(document.activeElement)) next.focus(); }
  };
  rows.addEventListener("click", (event) => light(event.target.closest("tr").dataset.line));
  rows.addEventListener("keydown", (event) => {
    const at = event.target.closest("tr").dataset.line, by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) { if (lit !== at) light(at); step(by); } else if (event.key === "Enter" || event.key === " ") light(at); else return;
    event.preventDefault();
  });

  const refresh = async (isAgain = false) => {
    const number = ++asked;
    clearTimeout(timer);
    if (!viewer.shown()) return;
    if (!isAgain) find("sum").textContent = "Measuring …";
    const answer = await answerOf(measure);
    if (number !== asked || !viewer.shown()) return;  // the photograph or the mask has changed meanwhile
    features = answer.ok ? answer.features : [];
    classes = answer.ok ? answer.classes : null;
    lit = null;
    tell();
    draw();
    if (answer.ok) return;
    find("sum").textContent = `Not measured: ${answer.text}`;
    if (answer.isAway) timer = setTimeout(refresh, AGAIN_MS, true);
  };

  // --- marking false cracks

  const take = (kind) => {
    const crack = chosen();
    if (!crack) return false;
    features = features.filter((each) => each !== crack);
    lit = null;
    viewer.remove(placesOf(crack), kind);
    tell();
    draw();
  };
  find("verdicts").addEventListener("click", ({ target }) => target.dataset.kind !== undefined && take(target.dataset.kind));
  find("back").addEventListener("click", viewer.undo);
  const splitter = createSplitter(viewer, find("apart"), () => features, chosen);

  // --- the scale

  // As people write it: 0.25 or 0,25; 0 if nothing is written. Null for anything else, which the field then says, and for 1,000, which
  // is a thousand in the browser's language, or 1.000 in another. Menus and pages may have two languages: Firefox formats numbers in that
  // of its menus. Fields for numbers would read 0,25 as 25 in most languages.
  const isThousand = (text) => [undefined, navigator.language].some((language) => !text.includes((0.5).toLocaleString(language).charAt(1)));
  const numberIn = (field) => {
    const text = field.value.trim(), isGrouped = /^[1-9]\d{0,2}[.,]\d{3}$/.test(text) && isThousand(text);
    const isClear = /^\d*([.,]\d+)?$/.test(text) && !isGrouped;
    field.setCustomValidity(isClear ? "" : `"${text}" can be misread. Write a number such as 0.25 or 1200.`);
    return field.reportValidity() ? Number(text.replace(",", ".")) : null;
  };
  root.addEventListener("input", ({ target }) => target.setCustomValidity(""));
  const set = (mm_per_px, source, forAll = false) => onScale(mm_per_px > 0 ? { mm_per_px, source } : null, forAll);
  const drawLine = () => {
    let path = lines.querySelector(".rule");
    if (!path) {
      path = document.createElementNS(SVG, "path");
      path.setAttribute("class", "rule");
      lines.append(path);
    }
    path.setAttribute("d", `M${line[0].join(" ")}L${line[1].join(" ")}`);
  };
  const isRuling = () => find("ruler").getAttribute("aria-pressed") === "true";
  const rule = (on) => {
    find("ruler").setAttribute("aria-pressed", String(on));
    find("known").hidden = true;
    line = null;
    lines.querySelector(".rule")?.remove();
    viewer.use(on ? ruler : null, on ? () => rule(false) : null);
    if (on) viewer.say("Draw a line over something whose length you know.");
    else if (viewer.shown()) viewer.tell();
  };
  const ruler = {
    begin: (at) => { line = [at, at]; drawLine(); },
    move: (at) => { line[1] = at; drawLine(); },
    end: (at) => {
      line[1] = at;
      drawLine();
      if (lengthOf(line) < 2) return;
      find("known").hidden = false;
      find("known-mm").focus();
    },
    cancel: () => lines.querySelector(".rule")?.remove(),
  };
  const lengthOf = ([[ax, ay], [bx, by]]) => Math.hypot(ax - bx, ay - by);
  find("ruler").addEventListener("click", () => viewer.shown() && rule(!isRuling()));
  find("known").addEventListener("submit", (event) => {
    event.preventDefault();
    const mm = numberIn(find("known-mm")), px = lengthOf(line);
    if (mm === null) return;
    if (mm > 0) set(mm / px, `By ruler: ${mm} mm are ${px.toFixed(0)} px.`);
    rule(false);
  });
  find("mm").addEventListener("change", () => {
    const mm_per_px = numberIn(find("mm"));
    if (mm_per_px !== null) set(mm_per_px, "Typed in.");
  });
  find("scale-all").addEventListener("click", () => set(scale.mm_per_px, `${scale.source.replace(/\.( Set on .*)?$/, "")}. Set on ${viewer.shown().name}.`, true));

  return {
    light, step, take, splitter, isRuling,
    rule: (on) => viewer.shown() && rule(on),
    show: (next) => { scale = next; features = []; lit = null; draw(); tell(); refresh(); },
    rescale: (next) => { scale = next; tell(); },
    later: () => { clearTimeout(timer); timer = setTimeout(refresh, 600); },
    clear: () => { asked++; features = []; scale = null; tell(); find("sum").textContent = ""; },
  };
}
