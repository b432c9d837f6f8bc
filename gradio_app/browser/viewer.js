// Shows a photograph with its cracks: compare, zoom, move the threshold, paint. All of it works at the photograph's own size, so
// the saved mask is, pixel by pixel, the painted one. Left to others: what becomes of the mask.

const VIEWER = `
  <div class="viewer" role="group" aria-label="Photograph with its cracks">
    <div class="bar" role="toolbar" aria-label="View">
      <label class="threshold-label">Threshold <input type="range" class="threshold" min="1" max="254" value="128"><output class="threshold-out"></output></label>
      <label title="How strongly the cracks are drawn over the photograph">Opacity <input type="range" class="opacity" min="0" max="100" value="70" aria-valuetext="70 percent"></label>
      <label title="How the cracks are drawn">Show <select class="look">
        <option value="red">red</option><option value="cyan">cyan</option><option value="outline">outline</option></select></label>
      <span class="group">
        <button type="button" class="zoom-out" aria-label="Zoom out" title="Zoom out (-)">−</button>
        <button type="button" class="fit" title="Whole photograph (0)">Fit</button>
        <button type="button" class="zoom-in" aria-label="Zoom in" title="Zoom in (+)">+</button>
      </span>
      <button type="button" class="paint-mode" aria-pressed="false" title="Paint cracks and wipe false ones (P)">Correct</button>
      <button type="button" class="ignore" aria-pressed="false" title="Draw a box that no figure counts (I)" hidden>Ignore</button>
      <span class="group">
        <button type="button" class="save-mask" title="Download the mask">Mask ↓</button>
        <button type="button" class="save-overlay" title="Download the photograph with its cracks">Overlay ↓</button>
      </span>
    </div>
    <div class="bar paint" role="toolbar" aria-label="Correct" hidden>
      <span class="group">
        <button type="button" class="brush" aria-pressed="true" title="Paint crack (B)">Brush</button>
        <button type="button" class="eraser" aria-pressed="false" title="Wipe crack away (E)">Eraser</button>
        <button type="button" class="trace" aria-pressed="false" title="Click along a crack (T)">Trace</button>
      </span>
      <label class="size-label">Size <input type="range" class="size" min="1" max="60" value="6" aria-valuetext="6 pixels" title="Smaller and larger: [ and ]"><output class="size-out">6 px</output></label>
      <span class="how" hidden>To finish the crack, click its last point again or press Enter. Esc discards it.</span>
      <span class="group">
        <button type="button" class="undo" title="Undo (Ctrl+Z)">Undo</button>
        <button type="button" class="redo" title="Redo (Ctrl+Shift+Z)">Redo</button>
      </span>
      <button type="button" class="empty" title="Clear the whole mask">No crack here</button>
      <button type="button" class="restore" title="Restore the mask as it was before you painted">Start over</button>
    </div>
    <div class="panes"><div class="stage">
      <div class="sheet">
        <img class="photo" alt="The photograph">
        <div class="overlay" role="img" aria-label="The cracks drawn over it"></div>
        <svg class="zones" role="presentation"></svg>
        <svg class="lines" role="presentation"></svg>
        <svg class="marked" role="presentation"></svg>
        <svg class="wire" role="presentation"></svg>
      </div>
      <input type="range" class="split" min="0" max="1000" value="0" aria-label="Compare with the photograph alone" title="Drag to see the photograph alone on the left">
      <div class="divider" hidden></div>
      <ul class="legend" aria-label="Colours by width" hidden></ul>
      <div class="cursor" hidden></div>
      <p class="hint"></p>
    </div></div>
    <div class="bar decide" role="toolbar" aria-label="Decide" hidden></div>
    <p class="status" role="status" aria-live="polite"></p>
  </div>`;

const THRESHOLD = "From this probability on a pixel counts as crack. A lower value marks more cracks, and more that are none. It applies to all photographs that you have not painted.";
const LOOK_ALIKES = { joint: "joint", lane_marking: "lane marking", cable: "cable", other: "no crack" };

const STRIP_PX = 4e6, LARGEST_SURE_PX = 2 ** 24;  // of a canvas: read at a time; and the size that every browser supports

const blobOf = async (url) => {
  const answer = await fetch(url);
  if (answer.status === 403 || answer.status === 404) throw new Error("the page keeps photographs for a day or until it is restarted, and this one is gone. Drop it again; your work on it is kept.");
  if (!answer.ok) throw new Error(`the page answered with status ${answer.status}. Reload it.`);
  return answer.blob();
};
const imageOf = async (url) => {
  const image = new Image();
  image.src = URL.createObjectURL(await blobOf(url));
  await image.decode().finally(() => URL.revokeObjectURL(image.src));
  return image;
};
const bitmapOf = async (url) => createImageBitmap(await blobOf(url));
const canvasOf = (width, height) => Object.assign(document.createElement("canvas"), { width, height });
const pixelsOf = (picture, left, top, width, height) => {
  const context = canvasOf(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, left, top, width, height, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
};
const redChannel = (bitmap) => {  // closes it: otherwise its four bytes per pixel wait for the garbage collector
  const { width, height } = bitmap, nRows = Math.ceil(STRIP_PX / width), red = new Uint8Array(width * height);
  for (let top = 0, to = 0; top < height; top += nRows) {
    const data = pixelsOf(bitmap, 0, top, width, Math.min(nRows, height - top));
    for (let at = 0; at < data.length; at += 4) red[to++] = data[at];
  }
  bitmap.close();
  return red;
};
const redOf = async (url) => redChannel(await bitmapOf(url));
const levelAt = (threshold) => Math.max(1, Math.ceil(threshold * 255 - 1e-6));  // as the model card's `threshold_level`

// `onChange`: the mask has changed; `onLevel`: somebody moved the threshold; `onPlace`: the photograph has moved on the screen; `onLine`,
// `onZone`: a line, or the cross of a box, was clicked; `restLevel` returns the threshold of a mask that nobody has painted.
function createViewer(root, { hint, isPaintingFirst = false, onChange = () => {}, onLevel = () => {}, restLevel = null, onLine = () => {}, onZone = () => {}, onPlace = () => {} }) {
  root.innerHTML = VIEWER;
  const find = (name) => root.querySelector("." + name);
  const overlay = find("overlay"), frame = find("stage"), layer = createLayer(overlay), mask = createMask(layer);
  let photo = find("photo"), width = 0, height = 0, probability = null, original = null, shown = null, asked = null, tool = "brush", isPainting = false, staysPainting = false, from = null, ownMarks = [], leftOut = [], letGo = null;
  find("hint").textContent = hint;

  const say = (text, isError = false) => {
    find("status").textContent = text;
    find("status").classList.toggle("error", isError);
    if (isError) console.error("crack detection:", text);
  };
  const split = ({ x, scale }) => {
    const at = (find("split").value / 1000) * frame.clientWidth;
    overlay.style.clipPath = at < 1 ? "" : `inset(0 0 0 ${Math.max(0, Math.min(width, (at - x) / scale))}px)`;
    find("divider").style.left = at + "px";
    find("divider").hidden = at < 1;
  };
  let placed = { x: 0, y: 0, scale: 1 };
  const stage = createStage(frame, find("sheet"), {
    onPlace: (now) => {
      placed = now;
      overlay.style.imageRendering = photo.style.imageRendering = now.scale > 2 ? "pixelated" : "auto";
      split(now);
      onPlace(now);
    },
    onClick: (target) => {
      const line = target.closest("[data-line]"), zone = target.closest("[data-zone]");
      if (line) onLine(line.dataset.line);
      if (zone) onZone(zone.dataset.zone);
      return Boolean(line || zone);
    },
  });

  // --- the mask

  const level = () => Number(find("threshold").value);
  const facts = () => {
    const { nCrack, nAll } = mask.count(leftOut), part = 100 - (100 * nAll) / (width * height);
    return `${shown.name}: ${((100 * nCrack) / Math.max(1, nAll)).toFixed(2)} % crack, ${width} × ${height} pixels` +
      (part ? `, ${part.toFixed(1)} % of them left out` : "") +
      (shown.crack_score == null ? "" : `, crack score ${shown.crack_score.toFixed(3)}`) +
      (shown.model_version ? `, model ${shown.model_version}` : "") + (mask.isTouched() ? ", corrected by you" : "");
  };
  const tell = () => say(facts());
  let byWidth = { colours: ["#c8bfff"], lines: [], legend: [] };
  const drawLook = () => {
    const look = find("look").value;
    mask.draw(look, byWidth.colours, byWidth.lines);
    find("legend").hidden = look !== "width" || !byWidth.legend.length;
    find("legend").replaceChildren(...byWidth.legend.map(({ colour, text }) => {
      const row = document.createElement("li"), swatch = document.createElement("span");
      swatch.style.background = colour;
      row.append(swatch, text);
      return row;
    }));
  };
  const drawMarked = () => find("marked").replaceChildren(...mask.marked().flatMap(({ box: [left, top, right, bottom], kind }) => {
    const box = document.createElementNS(SVG, "rect"), name = document.createElementNS(SVG, "text");
    for (const [key, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) box.setAttribute(key, value);
    for (const [key, value] of Object.entries({ x: left, y: top, dx: "0.3em", dy: "1.1em" })) name.setAttribute(key, value);
    name.textContent = LOOK_ALIKES[kind];
    return [box, name];
  }));
  const lockThreshold = () => {
    find("threshold").disabled = mask.isTouched();
    find("threshold-label").title = mask.isTouched() ? "You painted this mask. To use another threshold, start over or undo." : THRESHOLD;
  };
  const changed = () => {
    drawMarked();
    lockThreshold();
    tell();
    onChange();
  };
  const tellLevel = () => {
    const value = (level() / 255).toFixed(2);
    find("threshold-out").textContent = value;
    find("threshold").setAttribute("aria-valuetext", `a pixel is crack from a probability of ${value}`);
  };
  const cut = () => {  // a mask that nobody has painted is always that of the threshold, whatever it was before
    tellLevel();
    if (probability && !mask.isTouched()) mask.cut(probability, level());
    changed();
  };
  const tracer = createTracer({
    photo: () => ({ width, height, pixels: (...part) => pixelsOf(photo, ...part) }), mask, probability: () => probability, svg: find("wire"), scale: () => placed.scale, say,
    onPaint: () => { const on = shown; setTimeout(() => shown === on && changed(), 30); },  // once the traced line is on the screen
  });
  const undo = () => tracer.back() || (mask.undo() ? cut() : shown && say("Nothing to undo."));
  const redo = () => { tracer.finish(); mask.redo() ? cut() : shown && say("Nothing to redo."); };
  const wipe = () => { if (!shown) return; tracer.finish(); mask.touch(); mask.wipe(); changed(); };
  const restore = () => {
    if (!shown || !mask.isTouched()) return;
    tracer.finish();
    mask.touch();
    mask.fill(original.slice(), false, ownMarks);
    if (restLevel) find("threshold").value = restLevel();
    cut();
  };
  const size = () => Number(find("size").value);
  const value = () => (tool === "eraser" ? 0 : 1);
  const brush = {
    begin: (at) => { mask.touch(); from = at; mask.dab(at, at, size() / 2, value()); },
    move: (at) => { mask.dab(from, at, size() / 2, value()); from = at; },
    end: () => changed(),
    cancel: () => mask.forget(),
    hover: (at) => { hovered = at; drawCursor(); },
  };
  let hovered = null;
  const drawCursor = () => {
    find("cursor").hidden = !hovered;
    if (!hovered) return;
    const [x, y] = hovered, across = Math.max(3, size() * placed.scale);
    Object.assign(find("cursor").style, { width: across + "px", height: across + "px", left: x - across / 2 + "px", top: y - across / 2 + "px" });
  };
  const unhover = () => { hovered = null; drawCursor(); };
  frame.addEventListener("pointerleave", unhover);
  const resize = (to) => { find("size").value = to; tellSize(); drawCursor(); };
  const tellSize = () => {
    find("size-out").textContent = size() + " px";
    find("size").setAttribute("aria-valuetext", size() + " pixels");
  };
  const choose = (name) => {
    tool = name;
    for (const each of ["brush", "eraser", "trace"]) find(each).setAttribute("aria-pressed", String(each === name));
    paint(true);
  };
  const paint = (on) => {
    const lose = letGo;  // of another tool
    letGo = null;
    if (lose) lose();
    tracer.finish();
    isPainting = on && Boolean(shown);
    if (shown) staysPainting = on;  // for the next photograph, too, even if there is a failed one between them
    const isTracing = isPainting && tool === "trace";
    find("paint").hidden = !isPainting;
    find("size-label").hidden = isTracing;
    find("how").hidden = !isTracing;
    unhover();
    find("paint-mode").setAttribute("aria-pressed", String(isPainting));
    frame.classList.toggle("painting", isPainting);
    frame.classList.toggle("tracing", isTracing);
    stage.use(isPainting ? (isTracing ? tracer : brush) : null);
    if (isPainting) { find("split").value = 0; split(placed); }
  };

  // --- files

  const maskBlob = () => greyPng(mask.data(), width, height);
  const download = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = shown.name.replace(/\.[^.]*$/, "") + name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const saveMask = async () => shown && download(await maskBlob(), "-mask.png");
  const drawOn = (context, scale, opacity) => {
    context.drawImage(photo, 0, 0, width * scale, height * scale);
    context.globalAlpha = opacity;
    layer.drawOn(context, scale);
  };
  const saveOverlay = () => {
    if (!shown) return;
    const save = (scale) => {
      const canvas = canvasOf(Math.floor(width * scale), Math.floor(height * scale));
      drawOn(canvas.getContext("2d"), scale, find("opacity").value / 100);
      canvas.toBlob((blob) => {
        if (blob) return download(blob, "-overlay.png");
        if (scale < 1) return say("This device cannot draw the overlay. Save it on another device.", true);
        say("This device cannot draw a picture that large. The overlay is saved smaller; the mask keeps its size.");
        save(Math.min(1 - 1e-9, Math.sqrt(LARGEST_SURE_PX / (width * height))));
      }, "image/png");
    };
    save(1);
  };

  // --- buttons and keys

  const on = (name, act, event = "click") => find(name).addEventListener(event, () => act());
  on("threshold", () => { if (shown) { onLevel(level()); cut(); } }, "input");
  on("opacity", () => {
    overlay.style.opacity = find("opacity").value / 100;
    find("opacity").setAttribute("aria-valuetext", find("opacity").value + " percent");
  }, "input");
  on("look", drawLook, "change");
  on("split", () => split(placed), "input");
  on("size", () => { tellSize(); drawCursor(); }, "input");
  on("zoom-in", () => shown && stage.zoom(1.5)); on("zoom-out", () => shown && stage.zoom(1 / 1.5)); on("fit", () => shown && stage.fit());
  on("paint-mode", () => paint(!isPainting));
  for (const name of ["brush", "eraser", "trace"]) on(name, () => choose(name));
  on("undo", undo); on("redo", redo); on("empty", wipe); on("restore", restore);
  on("save-mask", saveMask); on("save-overlay", saveOverlay);
  const keys = {
    p: () => paint(!isPainting), b: () => choose("brush"), e: () => choose("eraser"), t: () => choose("trace"),
    enter: tracer.finish, escape: () => (letGo ? paint(false) : tracer.drop()),
    0: () => shown && stage.fit(), "+": () => shown && stage.zoom(1.5), "-": () => shown && stage.zoom(1 / 1.5),
    "[": () => resize(size() - 1), "]": () => resize(size() + 1),
    "mod-z": undo, "mod-shift-z": redo, "mod-y": redo,
  };
  listenToKeys(root, keys);

  // --- what is shown

  const clear = (text, isError) => {
    shown = asked = null;
    stage.hold([0, 0]);
    root.classList.remove("filled");
    find("hint").hidden = Boolean(text);
    find("decide").hidden = true;
    paint(false);
    say(text, isError);
  };
  // `what`: name, image_url, levels_url (of the probability or, with `is_mask`, of a mask). `level`: from which a pixel is crack.
  // `draft`: the mask that was painted before. `marked`: areas that look like a crack but are not. Returns whether it is shown
  // now: pictures may arrive in another order.
  const show = async (what, level, draft, marked = []) => {
    asked = what;
    try {
      const [image, levels] = await Promise.all([imageOf(what.image_url), what.levels_url && bitmapOf(what.levels_url)]);
      if (asked !== what) { if (levels) levels.close(); return false; }
      width = image.naturalWidth; height = image.naturalHeight;
      if (levels && (levels.width !== width || levels.height !== height)) throw new Error("its mask has another size. Report this with the photograph.");
      Object.assign(image, { className: "photo", alt: `The photograph ${what.name}` });
      image.style.imageRendering = photo.style.imageRendering;
      photo.replaceWith(image);
      photo = image;
      for (const svg of root.querySelectorAll("svg")) {
        svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
        Object.assign(svg.style, { width: width + "px", height: height + "px" });
      }
      find("lines").replaceChildren();
      const found = levels ? redChannel(levels) : new Uint8Array(width * height);
      probability = what.is_mask ? null : found;
      original = what.is_mask ? found.map((value) => (value ? 1 : 0)) : new Uint8Array(width * height);
      shown = what;
      find("threshold").value = level;
      tellLevel();
      mask.begin([width, height]);
      leftOut = [];
      byWidth = { colours: byWidth.colours, lines: [], legend: [] };
      ownMarks = draft ? [] : marked;
      if (draft) mask.fill(unpackBits(draft, width * height), true, marked);
      else if (probability) mask.cut(probability, level);
      else mask.fill(original.slice(), false, marked);
      drawMarked();
      find("legend").hidden = true;
      root.classList.add("filled");
      find("hint").hidden = true;
      find("decide").hidden = false;
      find("threshold-label").hidden = Boolean(what.is_mask);
      overlay.style.opacity = find("opacity").value / 100;
      paint(isPaintingFirst || staysPainting);
      stage.hold([width, height]);
      lockThreshold();
      tell();
      return true;
    } catch (error) {
      if (asked === what) clear(`${what.name} cannot be shown: ${reasonOf(error)}`, true);
      return false;
    }
  };
  return {
    show, clear, say, facts, tell, keys, find, stage, maskBlob, level, drawOn,
    shown: () => shown, size: () => [width, height],
    isTouched: mask.isTouched, isEmpty: mask.isEmpty,
    leaveOut: (zones) => { leftOut = zones; if (shown) tell(); },
    draft: () => (mask.isTouched() ? packBits(mask.data()) : null),
    // Shows the model's mask at `level` for a photograph that came without one, unless something is painted already.
    suggest: async (url, level) => {
      const on = shown, levels = await redOf(url);
      if (shown !== on) return;
      probability = levels;
      find("threshold-label").hidden = false;
      find("threshold").value = level;
      cut();
    },
    marked: mask.marked,
    remove: (places, kind) => {
      tracer.finish();
      mask.touch();
      const box = mask.erase(places);
      if (kind && box[0] < box[2]) mask.mark(box, kind);
      changed();
    },
    sever: (at, along, reach) => {
      tracer.finish();
      mask.touch();
      mask.sever(at, along, reach);
      changed();
    },
    scale: () => placed.scale,
    undo,
    // Use a tool that does not paint; `lose` is called when another tool replaces it.
    use: (next, lose) => {
      paint(false);
      letGo = lose;
      stage.use(next);
      frame.classList.toggle("pointing", Boolean(next));
      if (next) frame.scrollIntoView({ block: "nearest" });  // on a phone its button may be far below
    },
    // Colour the cracks by their width: `colour` in `lines` is an index of `colours`; `legend` has colours, names and counts.
    tint: (colours, lines, legend) => {
      byWidth = { colours, lines, legend };
      if (find("look").value === "width") drawLook();
    },
  };
}
