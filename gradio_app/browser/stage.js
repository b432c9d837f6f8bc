// Places the photograph in its frame: zoom, pan and pinch. If a tool is selected, it gets the pointer's path in pixels of the
// photograph.

const FARTHEST = 0.02, NEAREST = 40, CLICK_PX = 4;

function createStage(stage, sheet, { onPlace, onClick }) {
  let width = 0, height = 0, scale = 1, x = 0, y = 0, isFitted = true, frame = [0, 0];
  let tool = null, gesture = "", pinched = null, pressed = null;
  const pointers = new Map();

  const place = () => {
    sheet.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    sheet.style.setProperty("--scale", scale);
    onPlace({ x, y, scale });
  };
  const fit = () => {
    isFitted = true;
    scale = Math.min(stage.clientWidth / width, stage.clientHeight / height) || 1;
    x = (stage.clientWidth - width * scale) / 2;
    y = (stage.clientHeight - height * scale) / 2;
    place();
  };
  const zoom = (factor, atX = stage.clientWidth / 2, atY = stage.clientHeight / 2) => {
    const next = Math.min(NEAREST, Math.max(FARTHEST, scale * factor));
    x = atX - ((atX - x) * next) / scale;
    y = atY - ((atY - y) * next) / scale;
    scale = next;
    isFitted = false;
    place();
  };
  const move = (byX, byY) => { x += byX; y += byY; isFitted = false; place(); };
  const reveal = (left, top, right, bottom) => {  // moves a box of the photograph into view
    const atX = x + ((left + right) / 2) * scale, atY = y + ((top + bottom) / 2) * scale;
    if (atX > 0 && atY > 0 && atX < stage.clientWidth && atY < stage.clientHeight) return;
    move(stage.clientWidth / 2 - atX, stage.clientHeight / 2 - atY);
  };

  const inFrame = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const inPixels = ([atX, atY]) => [(atX - x) / scale, (atY - y) / scale];
  const pinch = () => {
    const [[ax, ay], [bx, by]] = pointers.values();
    return { x: (ax + bx) / 2, y: (ay + by) / 2, apart: Math.max(1, Math.hypot(ax - bx, ay - by)) };
  };
  stage.addEventListener("pointerdown", (event) => {
    if (!width || event.target.matches("input")) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, inFrame(event));
    if (pointers.size === 2) {
      if (gesture === "tool") tool.cancel();
      gesture = "pinch";
      pinched = pinch();
    } else if (pointers.size === 1) {
      gesture = tool && event.button === 0 && !event.shiftKey ? "tool" : "pan";
      pressed = { at: inFrame(event), target: event.target };
      if (gesture === "tool") tool.begin(inPixels(pressed.at));
    }
  });
  stage.addEventListener("pointermove", (event) => {
    const here = inFrame(event);
    if (tool && tool.hover && event.pointerType !== "touch") tool.hover(here, inPixels(here));
    const before = pointers.get(event.pointerId);
    if (!before) return;
    pointers.set(event.pointerId, here);
    if (gesture === "tool") tool.move(inPixels(here));
    else if (gesture === "pan") move(here[0] - before[0], here[1] - before[1]);
    else if (gesture === "pinch" && pointers.size === 2) {
      const now = pinch();
      zoom(now.apart / pinched.apart, pinched.x, pinched.y);
      move(now.x - pinched.x, now.y - pinched.y);
      pinched = now;
    }
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (gesture === "tool") event.type === "pointerup" ? tool.end(inPixels(inFrame(event))) : tool.cancel();
    const here = inFrame(event);
    const isClick = gesture === "pan" && event.type === "pointerup" && Math.hypot(here[0] - pressed.at[0], here[1] - pressed.at[1]) < CLICK_PX;
    gesture = "";  // after a pinch, the remaining finger does nothing
    if (isClick && !onClick(pressed.target) && !tool) zoom(2, ...here);
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("wheel", (event) => {
    if (!width) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, ...inFrame(event));
  }, { passive: false });
  new ResizeObserver(() => {
    const [formerWidth, formerHeight] = frame;
    frame = [stage.clientWidth, stage.clientHeight];
    if (!width || !frame[0] || !formerWidth) return width && frame[0] && isFitted && fit();
    if (isFitted) return fit();
    x += (frame[0] - formerWidth) / 2;  // what was in the middle stays there
    y += (frame[1] - formerHeight) / 2;
    place();
  }).observe(stage);

  return {
    fit, zoom, reveal,
    hold: (size) => {
      [width, height] = size;
      stage.style.setProperty("--photo-width", width);  // for paper
      stage.style.setProperty("--photo-height", height);
      if (width) fit();
    },
    use: (next) => { if (gesture === "tool") tool.cancel(); gesture = ""; tool = next; },
  };
}
