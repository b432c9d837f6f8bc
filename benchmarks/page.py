"""What the page takes in Chromium without a graphics card, at 1400 x 900: with 24 megapixels, and with 2,000 photographs.

Photographs come from what a browser keeps, as after a reload: no model has to look at them.

    python -m benchmarks.page
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from selenium import webdriver

from tests.pages import ServedPage, chromium, eventually, one, says

SIZE_WH = (6000, 4000)
N_GALLERY = 2000
N_LEVELS, N_FRAMES = 12, 90

# What both scripts begin with: a rough grey surface, a crack on it, its probability; and a row as the page keeps it.
DRAW = """
const draw = (width, height, wave) => {
  const make = () => Object.assign(document.createElement("canvas"), { width, height });
  const photo = make(), levels = make(), noise = new OffscreenCanvas(256, 256), pixels = new ImageData(256, 256);
  let seed = 1 + wave;
  for (let at = 0; at < pixels.data.length; at += 4) {
    seed = (seed * 16807) % 2147483647;
    pixels.data.set([0, 1, 2].map(() => 140 + (seed % 24)).concat(255), at);
  }
  noise.getContext("2d").putImageData(pixels, 0, 0);
  for (const [canvas, ground, ink, wide] of [[photo, null, "#3c3c3c", 0.004], [levels, "black", "#b0b0b0", 0.01]]) {
    const context = canvas.getContext("2d");
    context.fillStyle = ground || context.createPattern(noise, "repeat");
    context.fillRect(0, 0, width, height);
    Object.assign(context, { strokeStyle: ink, lineWidth: wide * height, filter: `blur(${0.002 * height}px)` });
    for (const across of [0.2, 0.5, 0.8]) {
      context.beginPath();
      for (let x = 0; x <= width; x += width / 200) context.lineTo(x, height * (across + 0.06 * Math.sin(x / (80 + wave))));
      context.stroke();
    }
  }
  return [photo, levels];
};
const row = (number, size, image_url, levels_url, thumb_url) => ({
  id: `kept-${number}`, number, name: `IMG_${number}.jpg`,
  mark: "seen", state: "done", scale: null, draft: null, verdict: "", note: "",
  result: {
    image_path: "", levels_path: "", image_url, levels_url, thumb_url, size,
    threshold: 0.5, crack_ratio: 0.01, crack_score: 1 - number / 5000, model_version: "1",
  },
});
const keep = (rows, done) => {
  const request = indexedDB.open("crack-detection");
  request.onsuccess = () => {
    const transaction = request.result.transaction("inspect", "readwrite");
    for (const each of rows) transaction.objectStore("inspect").put(each);
    transaction.oncomplete = () => { request.result.close(); done(); };
  };
};
"""
ONE_LARGE = """
const [width, height, done] = arguments, canvases = draw(width, height, 0);
const upload = async (canvas, type) => {
  const form = new FormData();
  form.append("files", await new Promise((resolve) => canvas.toBlob(resolve, type, 0.9)), "large");
  return "/gradio_api/file=" + (await (await fetch("/gradio_api/upload", { method: "POST", body: form })).json())[0];
};
Promise.all([upload(canvases[0], "image/jpeg"), upload(canvases[1], "image/png")])
  .then(([image_url, levels_url]) => keep([row(1, [width, height], image_url, levels_url, "")], done));
"""
MANY = """
const [n, done] = arguments, [photo, levels] = draw(192, 144, 0), rows = [];
const small = Object.assign(document.createElement("canvas"), { width: 192, height: 144 }), context = small.getContext("2d");
for (let number = 1; number <= n; number++) {  // each another picture
  context.drawImage(photo, 0, 0);
  context.fillRect(number % 180, number % 140, 9, 9);
  const url = small.toDataURL("image/jpeg", 0.6);
  rows.push(row(number, [192, 144], number === 1 ? url : "", number === 1 ? levels.toDataURL() : "", url));
}
keep(rows, done);
"""
# Milliseconds from an event to the second frame after it, by which it is on the screen.
THRESHOLD = """
const [levels, done] = arguments, slider = document.querySelector("#inspect-viewer .threshold"), took = [];
const next = () => {
  if (took.length === levels) return done(took);
  const at = performance.now();
  slider.value = 60 + 8 * took.length;
  slider.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => requestAnimationFrame(() => { took.push(performance.now() - at); setTimeout(next, 700); }));
};
next();
"""
# Milliseconds between frames, each of which moves or zooms the photograph.
FRAMES = """
const [n, kind, done] = arguments, stage = document.querySelector("#inspect-viewer .stage"), took = [];
const { left, top, width, height } = stage.getBoundingClientRect();
const at = { clientX: left + width / 2, clientY: top + height / 2, bubbles: true, cancelable: true, pointerId: 1 };
const act = (number) => {
  if (kind === "zoom") return stage.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: number % 30 < 15 ? -100 : 100 }));
  const x = at.clientX + 150 * Math.sin(number / 6), y = at.clientY + 100 * Math.cos(number / 6);
  stage.dispatchEvent(new PointerEvent("pointermove", { ...at, clientX: x, clientY: y }));
};
stage.setPointerCapture = () => {};
if (kind === "pan") stage.dispatchEvent(new PointerEvent("pointerdown", { ...at, button: 0 }));
let last = 0;
const frame = (now) => {
  if (last) took.push(now - last);
  last = now;
  if (took.length < n) { act(took.length); return requestAnimationFrame(frame); }
  stage.dispatchEvent(new PointerEvent("pointercancel", at));
  done(took);
};
requestAnimationFrame(frame);
"""
FIRST_PAINT = """
const list = document.querySelector("#inspect-viewer .gallery");
const image = list && list.querySelector("img");
return list && list.children.length === arguments[0] && image.complete && image.naturalWidth ? performance.now() : 0;
"""


def told(name: str, took_ms: list[float], cpu_s: float) -> None:
    cpu_ms = 1000 * cpu_s / len(took_ms)
    print(
        f"{name}: median {statistics.median(took_ms):.0f} ms, worst {max(took_ms):.0f} ms; processors {cpu_ms:.0f} ms each",
        flush=True,
    )


def used(browser: webdriver.Chrome) -> tuple[float, float]:
    """Seconds that this Chromium's processes have computed together, and the megabytes of its largest renderer."""
    found, ours = dict[int, tuple[int, float, float]](), {browser.service.process.pid}
    for entry in sorted(Path("/proc").glob("[0-9]*"), key=lambda entry: int(entry.name)):  # parents before children
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            is_renderer = "--type=renderer" in (entry / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        n_bytes = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        found[int(entry.name)] = int(fields[1]), cpu_s, is_renderer * n_bytes / 1e6
    for pid, (parent, _, _) in found.items():
        if parent in ours:
            ours.add(pid)
    return sum(found[pid][1] for pid in ours if pid in found), max(found[pid][2] for pid in ours if pid in found)


def kept(browser: webdriver.Chrome, url: str, script: str, *arguments: Any) -> None:
    """Open the page with these rows, and nothing else, in what the browser keeps."""
    browser.get("about:blank")
    browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "all"})
    browser.get(url)
    one(browser, "#inspect-viewer .hint")
    browser.execute_async_script(DRAW + script, *arguments)
    browser.refresh()


def measure_large(browser: webdriver.Chrome, url: str) -> None:
    kept(browser, url, ONE_LARGE, *SIZE_WH)
    says(browser, "#inspect-viewer", "IMG_1.jpg: ")
    time.sleep(2)
    for name, script, *arguments in (
        ("threshold", THRESHOLD, N_LEVELS),
        ("frames of zoom", FRAMES, N_FRAMES, "zoom"),
        ("frames of pan", FRAMES, N_FRAMES, "pan"),
    ):
        before_s, _ = used(browser)
        took_ms = browser.execute_async_script(script, *arguments)
        told(f"24 megapixels, {name}", took_ms, used(browser)[0] - before_s)
    print(f"24 megapixels: the renderer has {used(browser)[1]:.0f} MB", flush=True)


def measure_gallery(browser: webdriver.Chrome, url: str) -> None:
    kept(browser, url, "keep([], arguments[0]);")
    one(browser, "#inspect-viewer .hint")
    print(f"no photograph: the renderer has {used(browser)[1]:.0f} MB", flush=True)
    kept(browser, url, MANY, N_GALLERY)
    painted_ms = eventually(lambda: browser.execute_script(FIRST_PAINT, N_GALLERY))
    print(f"{N_GALLERY} photographs: painted {painted_ms / 1000:.1f} s after the load began")
    time.sleep(3)
    print(f"{N_GALLERY} photographs: the renderer has {used(browser)[1]:.0f} MB")


def main() -> None:
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        page = ServedPage(Path(folder) / "page.log", BACKEND_URL="http://127.0.0.1:9")
        try:
            for measure in (measure_gallery, measure_large):
                with chromium() as browser:
                    browser.set_window_size(1400, 900)
                    measure(browser, page.url)
        finally:
            page.stop()


if __name__ == "__main__":
    main()
