// A photograph with its cracks: compare, zoom, cut at another threshold, paint. Everything happens on canvases of the
// photograph's own size, so that what is painted is, pixel by pixel, what is saved.

const CRACK = [255, 0, 64];
const MOST_UNDO = 50;

function build(root, kind) {
  root.innerHTML = `
  <div class="viewer" tabindex="0" aria-label="Photograph with its cracks">
    <div class="bar" role="toolbar" aria-label="View">
      <label>Threshold <input type="range" class="threshold" min="1" max="254" value="128"><output class="threshold-out"></output></label>
      <label>Opacity <input type="range" class="opacity" min="0" max="100" value="70"></label>
      <span class="group">
        <button type="button" class="zoom-out" aria-label="Zoom out" title="Zoom out (-)">−</button>
        <button type="button" class="fit" title="Whole photograph (0)">Fit</button>
        <button type="button" class="zoom-in" aria-label="Zoom in" title="Zoom in (+)">+</button>
      </span>
      <button type="button" class="paint-mode" aria-pressed="false" title="Paint cracks and wipe false ones (P)">Correct</button>
      <span class="group downloads">
        <button type="button" class="save-mask">Mask</button>
        <button type="button" class="save-overlay">Overlay</button>
      </span>
    </div>
    <div class="bar paint" role="toolbar" aria-label="Correct" hidden>
      <span class="group">
        <button type="button" class="brush" aria-pressed="true" title="Paint crack (B)">Brush</button>
        <button type="button" class="eraser" aria-pressed="false" title="Wipe crack away (E)">Eraser</button>
      </span>
      <label>Size <input type="range" class="size" min="1" max="60" value="6"><output class="size-out">6 px</output></label>
      <button type="button" class="undo" title="Undo (Ctrl+Z)">Undo</button>
      <button type="button" class="empty" title="Wipe everything">No crack here</button>
    </div>
    <div class="stage">
      <div class="sheet"><canvas class="photo"></canvas><canvas class="overlay"></canvas></div>
      <input type="range" class="split" min="0" max="1000" value="0" aria-label="Compare with the bare photograph">
      <div class="divider" aria-hidden="true" hidden></div>
      <p class="hint"></p>
    </div>
    <div class="bar decide" role="toolbar" aria-label="Decide" hidden></div>
    <p class="status" role="status" aria-live="polite"></p>
  </div>`;
  const find = (name) => root.querySelector("." + name);
  find("hint").textContent =
    kind === "review" ? "Nothing waits for a review." : "Drop a photograph above to see its cracks.";
  return find;
}

function createViewer(root, kind) {
  const find = build(root, kind);
  const stage = find("stage"), sheet = find("sheet"), photo = find("photo"), overlay = find("overlay");
  let width = 0, height = 0, probability = null, mask = null, shown = null, history = [];
  let scale = 1, x = 0, y = 0, isPainting = false, isErasing = false, isTouched = false, stroke = null, drag = null;

  const say = (text, isError = false) => {
    find("status").textContent = text;
    find("status").classList.toggle("error", isError);
    if (isError) console.error("crack detection:", text);
  };

  // --- where the photograph lies in the stage

  const place = () => {
    sheet.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    overlay.style.imageRendering = photo.style.imageRendering = scale > 2 ? "pixelated" : "auto";
    split();
  };
  const split = () => {
    const at = (find("split").value / 1000) * stage.clientWidth;
    const cut = Math.max(0, Math.min(width, (at - x) / scale));
    overlay.style.clipPath = `inset(0 0 0 ${cut}px)`;
    find("divider").style.left = at + "px";
    find("divider").hidden = at < 1;
  };
  const fit = () => {
    scale = Math.min(stage.clientWidth / width, stage.clientHeight / height) || 1;
    x = (stage.clientWidth - width * scale) / 2;
    y = (stage.clientHeight - height * scale) / 2;
    place();
  };
  const zoom = (factor, atX = stage.clientWidth / 2, atY = stage.clientHeight / 2) => {
    const next = Math.min(40, Math.max(0.02, scale * factor));
    x = atX - ((atX - x) * next) / scale;
    y = atY - ((atY - y) * next) / scale;
    scale = next;
    place();
  };

  // --- the mask

  const repaint = (left = 0, top = 0, right = width, bottom = height) => {
    left = Math.max(0, left); top = Math.max(0, top); right = Math.min(width, right); bottom = Math.min(height, bottom);
    if (right <= left || bottom <= top) return;
    const context = overlay.getContext("2d");
    const part = context.createImageData(right - left, bottom - top);
    const pixels = new Uint32Array(part.data.buffer);
    const colour = (255 << 24) | (CRACK[2] << 16) | (CRACK[1] << 8) | CRACK[0];
    for (let row = top, at = 0; row < bottom; row++)
      for (let index = row * width + left; index < row * width + right; index++, at++) if (mask[index]) pixels[at] = colour;
    context.putImageData(part, left, top);
  };
  const cut = () => {
    const level = Number(find("threshold").value);
    find("threshold-out").textContent = (level / 255).toFixed(2);
    if (!probability) return;
    if (isTouched) return say("The threshold is not applied to what you have painted. Undo (Ctrl+Z) goes back to the model's own mask.");
    for (let index = 0; index < mask.length; index++) mask[index] = probability[index] >= level ? 1 : 0;
    repaint();
    tellShare();
  };
  const tellShare = () => {
    let n = 0;
    for (let index = 0; index < mask.length; index++) n += mask[index];
    say(`${shown.name}: ${((100 * n) / mask.length).toFixed(2)} % crack, ${width} × ${height} pixels` +
      (shown.crack_score == null ? "" : `, crack score ${shown.crack_score.toFixed(3)}`) +
      (shown.model_version ? `, model ${shown.model_version}` : "") + (isTouched ? ", corrected by you" : ""));
  };
  const keepForUndo = () => {
    history.push({ mask: mask.slice(), wasTouched: isTouched });
    if (history.length > MOST_UNDO || history.length * mask.length > 4e8) history.shift();
  };
  const undo = () => {
    const last = history.pop();
    if (!last) return say("Nothing to undo.");
    mask = last.mask; isTouched = last.wasTouched;
    repaint();
    tellShare();
  };
  const dab = (fromX, fromY, toX, toY) => {
    const radius = Number(find("size").value) / 2, value = isErasing ? 0 : 1;
    const n = Math.max(1, Math.ceil(Math.hypot(toX - fromX, toY - fromY)));
    for (let step = 0; step <= n; step++) {
      const cx = fromX + ((toX - fromX) * step) / n, cy = fromY + ((toY - fromY) * step) / n;
      for (let row = Math.max(0, Math.floor(cy - radius)); row <= Math.min(height - 1, Math.ceil(cy + radius)); row++)
        for (let column = Math.max(0, Math.floor(cx - radius)); column <= Math.min(width - 1, Math.ceil(cx + radius)); column++)
          if (Math.hypot(column + 0.5 - cx, row + 0.5 - cy) <= Math.max(radius, 0.71)) mask[row * width + column] = value;
    }
    const margin = Math.ceil(radius) + 2;
    repaint(Math.floor(Math.min(fromX, toX)) - margin, Math.floor(Math.min(fromY, toY)) - margin,
      Math.ceil(Math.max(fromX, toX)) + margin, Math.ceil(Math.max(fromY, toY)) + margin);
  };

  // --- pointer and keys

  const pixelAt = (event) => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left - x) / scale, (event.clientY - box.top - y) / scale];
  };
  stage.addEventListener("pointerdown", (event) => {
    if (!shown || event.target === find("split")) return;
    stage.setPointerCapture(event.pointerId);
    if (isPainting && event.button === 0 && !event.shiftKey) {
      keepForUndo();
      isTouched = true;
      stroke = pixelAt(event);
      dab(...stroke, ...stroke);
    } else drag = [event.clientX - x, event.clientY - y, event.clientX, event.clientY];
  });
  stage.addEventListener("pointermove", (event) => {
    if (stroke) {
      const here = pixelAt(event);
      dab(...stroke, ...here);
      stroke = here;
    } else if (drag) {
      x = event.clientX - drag[0]; y = event.clientY - drag[1];
      place();
    }
  });
  stage.addEventListener("pointerup", (event) => {
    const isClick = drag && Math.hypot(event.clientX - drag[2], event.clientY - drag[3]) < 4;
    if (stroke) tellShare();
    stroke = drag = null;
    const box = stage.getBoundingClientRect();
    if (isClick && !isPainting) zoom(2, event.clientX - box.left, event.clientY - box.top);
  });
  stage.addEventListener("wheel", (event) => {
    if (!shown) return;
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  const choose = (erasing) => {
    isErasing = erasing;
    find("brush").setAttribute("aria-pressed", String(!erasing));
    find("eraser").setAttribute("aria-pressed", String(erasing));
  };
  const paintMode = (on) => {
    isPainting = on;
    find("paint").hidden = !on;
    find("decide").hidden = !on && kind !== "review";
    find("paint-mode").setAttribute("aria-pressed", String(on));
    stage.classList.toggle("painting", on);
    if (on) { find("split").value = 0; split(); }
  };
  const clear = () => {
    if (!shown) return;
    keepForUndo();
    isTouched = true;
    mask.fill(0);
    repaint();
    tellShare();
  };
  const download = (canvas, name) => canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = shown.name.replace(/\.[^.]*$/, "") + name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }, "image/png");
  const maskCanvas = () => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const part = canvas.getContext("2d").createImageData(width, height);
    new Uint32Array(part.data.buffer).forEach((_, index, pixels) => (pixels[index] = mask[index] ? 0xffffffff : 0xff000000));
    canvas.getContext("2d").putImageData(part, 0, 0);
    return canvas;
  };
  const overlayCanvas = () => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    context.drawImage(photo, 0, 0);
    context.globalAlpha = find("opacity").value / 100;
    context.drawImage(overlay, 0, 0);
    return canvas;
  };
  const on = (name, act, event = "click") => find(name).addEventListener(event, () => act());
  on("threshold", cut, "input");
  on("opacity", () => (overlay.style.opacity = find("opacity").value / 100), "input");
  on("split", split, "input");
  on("size", () => (find("size-out").textContent = find("size").value + " px"), "input");
  on("zoom-in", () => zoom(1.5)); on("zoom-out", () => zoom(1 / 1.5)); on("fit", fit);
  on("paint-mode", () => paintMode(!isPainting)); on("brush", () => choose(false)); on("eraser", () => choose(true));
  on("undo", undo); on("empty", clear);
  on("save-mask", () => shown && download(maskCanvas(), "-mask.png"));
  on("save-overlay", () => shown && download(overlayCanvas(), "-overlay.png"));
  const keys = { p: () => paintMode(!isPainting), b: () => choose(false), e: () => choose(true), 0: fit, "+": () => zoom(1.5), "-": () => zoom(1 / 1.5) };
  root.addEventListener("keydown", (event) => {
    if (/^(TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.type === "text") return;
    if (event.ctrlKey && event.key === "z") undo();
    else if (!event.ctrlKey && keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });
  new ResizeObserver(() => shown && fit()).observe(stage);

  // --- what is shown

  const pixelsOf = async (url) => {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${url}: status ${answer.status}`);
    return createImageBitmap(await answer.blob());
  };
  const redChannel = (bitmap) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const data = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    return Uint8Array.from({ length: data.length / 4 }, (_, index) => data[4 * index]);
  };
  let asked = null;  // what is to be shown: pictures may arrive in another order
  const show = async (what) => {
    asked = what;
    if (!what || !what.image_url) {
      shown = null;
      root.classList.remove("filled");
      find("hint").hidden = false;
      return say(what && what.error ? what.error : "", Boolean(what && what.error));
    }
    try {
      const bitmap = await pixelsOf(what.image_url);
      const levels = what.levels_url ? redChannel(await pixelsOf(what.levels_url)) : new Uint8Array(bitmap.width * bitmap.height);
      if (asked !== what) return;
      width = bitmap.width; height = bitmap.height;
      if (levels.length !== width * height) throw new Error("The mask does not fit the photograph.");
      for (const canvas of [photo, overlay]) Object.assign(canvas, { width, height });
      photo.getContext("2d").drawImage(bitmap, 0, 0);
      probability = what.is_mask ? null : levels;
      mask = what.is_mask ? levels.map((level) => (level ? 1 : 0)) : new Uint8Array(width * height);
      shown = what; history = []; isTouched = false;
      root.classList.add("filled");
      find("hint").hidden = true;
      find("threshold").value = Math.max(1, Math.ceil((what.threshold || 0.5) * 255 - 1e-6));
      find("threshold").closest("label").hidden = Boolean(what.is_mask);
      overlay.style.opacity = find("opacity").value / 100;
      cut();
      repaint();
      paintMode(kind === "review");
      fit();
      tellShare();
    } catch (error) {
      say(`${what.name} cannot be shown: ${error.message}`, true);
    }
  };
  const maskFile = () => new Promise((resolve) =>
    maskCanvas().toBlob((blob) => resolve(new File([blob], "mask.png", { type: "image/png" })), "image/png"));
  return { show, say, keys, maskFile, find, shown: () => shown, isTouched: () => isTouched, isEmpty: () => !mask.some(Boolean) };
}
