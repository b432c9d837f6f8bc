// The Inspect tab: people drop photographs, which are predicted a few at a time, then inspect, measure, correct and download them.

element.innerHTML = `
  <div class="inspect">
    <div class="inspection" role="group" aria-label="Inspection"></div>
    <div class="bar" role="toolbar" aria-label="Photographs">
      <button type="button" class="choose primary">Choose photographs</button>
      <input type="file" class="files" multiple hidden aria-label="Photographs">
      <label title="How thoroughly photographs that you add next are searched: high averages over mirror images and quarter turns">Quality <select class="quality"><option value="normal">normal</option><option value="high">high (takes eight times as long)</option></select></label>
      <span class="progress grow" role="status" aria-live="polite"></span>
      <button type="button" class="halt" hidden>Stop</button>
      <button type="button" class="again" hidden>Try again</button>
      <button type="button" class="pack" title="Download the masks and overlays of this batch, as on the screen, and tables of its cracks" hidden>Download all (ZIP)</button>
      <button type="button" class="clear" hidden>Clear</button>
    </div>
    <p class="printed"></p>
    <div class="bench">
      <nav class="gallery" aria-label="Photographs, those most likely cracked first"></nav>
      <div class="crack"></div>
      <section class="findings" aria-label="Cracks of this photograph"></section>
    </div>
  </div>`;
const at = (name) => element.querySelector("." + name);
const keeper = openKeeper("inspect");
// level: the batch's threshold, null for the model's own; inspection: the id of the open inspection.
const settings = { id: "settings", level: null, shown: null, inspection: null };
let entries = [], shown = null, nAdded = 0;
let told = "";  // of the last drop or download, beside the progress until the next one

const viewer = createViewer(at("crack"), {
  hint: "Choose photographs of concrete, asphalt or masonry,\nor drop them, or a folder of them, anywhere on this page.",
  onChange: () => changed(), onLevel: (level) => setLevel(level), restLevel: () => levelOf({ ...entryOf(viewer.shown()), draft: null }), onLine: (id) => findings.light(id), onZone: (number) => zones.remove(number),
});
const gallery = createGallery(at("gallery"), (entry) => open(entry));
const findings = createFindings(at("findings"), viewer, () => measure(), (scale, forAll) => {
  for (const entry of forAll ? entries : [shown]) { entry.scale = scale; keep(entry); }
  findings.rescale(scale);
});
const zones = createZones(viewer, (next) => { shown.zones = next; keep(shown); findings.later(); });
const decide = viewer.find("decide");
decide.innerHTML = `
  <button type="button" class="confirm" title="The mask is right (C)">Confirm</button>
  <button type="button" class="reject" aria-pressed="false" title="Leave this photograph out of the report (X)" hidden>Reject</button>
  <label>What was wrong? <select class="verdict">
    <option value="">choose …</option><option value="missed_crack">a crack was missed</option>
    <option value="false_alarm">that is not a crack</option><option value="too_thick">too thick</option>
    <option value="too_thin">too thin</option><option value="other">something else</option></select></label>
  <label class="grow">Note <input type="text" class="note" maxlength="500" placeholder="optional"></label>
  <button type="button" class="send primary"></button>`;

const fileOf = async (blob, name) => (await upload(new File([await blob], name, { type: "image/png" }))).path;
const keep = (entry) => { const { file, ...row } = entry; inspections.keep(entry); return keeper.put(row); };
const ownLevel = (entry) => levelAt(entry.result.threshold);
const entryOf = ({ id }) => entries.find((entry) => entry.id === id);  // of what the viewer shows: another may be open already
const levelOf = (entry) => (entry.draft ? entry.level : settings.level ?? levelAt(entry.result.cut ?? entry.result.threshold));

// --- adding photographs

const sent = async (file) => {
  try { return await upload(file); } catch (error) {
    await file.slice(0, 1).arrayBuffer();  // an unreadable file fails like a network that is away, but here it says so
    throw error;
  }
};
// A restart of the page's server loses photographs, but not the work on them: whoever drops one again goes on with it.
const goOn = async (entry) => {
  const content = ({ path }) => path.split("/").slice(-2).join("/");  // Gradio names the folder by the file's hash
  const former = entries.find((other) => other !== entry && other.result && !other.result.photograph && content(other) === content(entry));
  if (!former || (await inspections.isThere(former)) || !entries.includes(former)) return;
  const { name, mark, draft, level, marked, zones, scale, verdict, note, thumb, isSent } = former;
  Object.assign(entry, { name, mark, draft, level, marked, zones, scale, verdict, note, thumb, isSent });
  entries = entries.filter((other) => other !== former);
  keeper.remove(former.id);
  if (shown === former) shown = null;
};
const batch = createBatch(async (entry) => {
  if (entry.problem) return { ok: false, text: entry.problem };
  if (!entry.path) {
    entry.path = (await sent(entry.file)).path;
    await goOn(entry);
  }
  entry.file = null;
  keep(entry);  // so a reload does not send it again
  if (inspections.id()) return inspections.add(Object.assign(entry, { inspection: inspections.id() }), at("quality").value);
  return server.predict_photograph({ path: entry.path, quality: at("quality").value });
}, (entry) => {
  if (entry && entries.includes(entry)) {
    if (entry.state === "done" && inspections.id() && !entry.result.photograph) return batch.add([entry]);  // it was predicted before the inspection was opened
    keep(entry);
    if (entry.state === "done" && shown === entry) shown = null;  // so it is drawn again with its result
    if (entry.state === "done" && !shown) open(entry);
  }
  if (!entry && !shown && entries.length && !batch.isRunning()) open(entries[0]);  // none could be predicted: show why
  draw();
});
const isChanged = (entry) => Boolean(entry.draft) || levelOf(entry) !== ownLevel(entry);
const draw = () => {
  const n = (state) => entries.filter((entry) => entry.state === state).length;
  const isRunning = batch.isRunning(), nDone = n("done"), nFailed = n("failed");
  const counts = entries.length > 1 || isRunning
    ? `${nDone} of ${entries.length} done` + (nFailed ? `, ${nFailed} failed` : "") + (isRunning ? " …" : "") : "";
  at("progress").textContent = [told, counts].filter(Boolean).join(" ");
  at("halt").hidden = !isRunning;
  at("again").hidden = isRunning || !entries.some((entry) => entry.state === "failed" && (entry.path || entry.file));
  at("pack").hidden = !entries.length;
  at("clear").hidden = !entries.length || Boolean(inspections.id());
  decide.querySelector(".reject").hidden = !inspections.id();
  decide.querySelector(".reject").setAttribute("aria-pressed", String(shown?.mark === "rejected"));
  at("inspect").classList.toggle("many", entries.length > 1);
  gallery.draw(entries, shown);
  const isMask = shown && shown.state === "done" && isChanged(shown);
  decide.querySelector(".send").textContent = isMask ? "Checked: send mask" : "Send";
  decide.querySelector(".send").title = isMask
    ? "Send the mask once you have checked the whole photograph and all cracks are marked, and nothing else. Until then it is a draft."
    : "Send what was wrong. A corrected mask helps more: press Correct and paint it.";
};
const EMPTY = "It is empty, or no file but a pipe. Copy the photograph again.";  // a pipe would be waited for
const tell = (text) => { told = text; draw(); };
const add = (files) => {
  told = "";
  const names = new Set(entries.map((entry) => entry.name));
  const added = [...files].map((file) => {
    let name = file.name;
    for (let copy = 2; names.has(name); copy++) name = file.name.replace(/(\.[^.]*)?$/, ` (${copy})$1`);
    names.add(name);
    const number = ++nAdded, problem = file.problem || (file.size ? null : EMPTY);
    return { id: `${Date.now()}-${number}-${Math.random()}`, number, name, file: problem ? null : file, problem, mark: "unseen", scale: null, draft: null, verdict: "", note: "" };
  });
  if (!shown && added.length) viewer.clear("Looking for cracks …");
  entries.push(...added);
  batch.add(added);
};
// In folders, by their names; NOT_TAKEN comes from inspection/passed_over.py, which `crack survey` uses, too.
const isPassedOver = ({ name, isFile }) => {
  const lower = name.toLowerCase();
  return name.startsWith(".") || NOT_TAKEN.ofSystems.includes(lower) || (isFile && NOT_TAKEN.copies.some((end) => lower.endsWith(end)));
};
const filesOf = async (dropped) => {  // also those in folders; for what cannot be read, its name and a `problem`
  const found = [];
  const walk = async (item) => {
    try {
      if (item.isFile) return found.push(await new Promise((resolve, reject) => item.file(resolve, reject)));
      const reader = item.createReader();
      for (;;) {
        const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!some.length) return;
        for (const each of some) if (!isPassedOver(each)) await walk(each);
      }
    } catch (error) { found.push({ name: (item.name || "(unreadable name)") + (item.isFile ? "" : "/"), problem: reasonOf(error) }); }
  };
  const items = [...dropped.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry());
  if (!items.some((item) => item && item.isDirectory)) return [...dropped.files];
  for (const item of items) if (item) await walk(item);
  return found;
};
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();  // otherwise the browser would leave this page and open the file
  if (!element.offsetParent || !event.dataTransfer) return;
  const files = await filesOf(event.dataTransfer);
  if (files.length) add(files); else tell("There is no photograph in what you dropped.");
});
at("choose").addEventListener("click", () => at("files").click());
viewer.find("stage").addEventListener("click", () => entries.length || at("files").click());
at("files").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
at("halt").addEventListener("click", () => batch.stop());
at("again").addEventListener("click", () => batch.add(entries.filter((entry) => entry.state === "failed" && (entry.path || entry.file))));
const mayClear = (what) => {
  const nUnsent = entries.filter((entry) => entry.draft && !entry.isSent).length;
  return !nUnsent || confirm(`${nUnsent === 1 ? "1 correction was" : nUnsent + " corrections were"} not sent. ${what} anyway?`);
};
const show = (next, former) => {  // replaces the photographs on the page
  batch.stop();
  at("bench").classList.remove("loading");
  entries = next; shown = null; told = ""; Object.assign(settings, { shown: null }, former);
  keeper.clear();
  keeper.put(settings);
  for (const entry of entries) keep(entry);
  nAdded = Math.max(nAdded, ...entries.map((entry) => entry.number));
  viewer.clear(entries.length ? "One moment …" : "");
  findings.clear();
  draw();
};
at("clear").addEventListener("click", () => { if (mayClear("Clear")) show([], { level: null }); });

// --- showing a photograph

const fetched = async (entry) => !entry.result.photograph || inspections.load(entry);  // from the server, if that keeps it
const open = async (entry) => {
  if (!entry || entry === shown) return;
  at("bench").classList.toggle("loading", entry.state === "done");  // the former photograph must not be taken for this one
  await showEntry(entry);
  if (shown === entry) at("bench").classList.remove("loading");
};
const showEntry = async (entry) => {
  if (entry.state !== "done") { shown = entry; draw(); findings.clear(); return viewer.clear(`${entry.name}: ${entry.text || "it is still waiting."}`, entry.state === "failed"); }
  shown = entry;
  draw();  // at once, because loading the pictures may take a while
  const isThere = await fetched(entry);
  if (shown !== entry) return;
  if (!isThere) return findings.clear();
  decide.querySelector(".verdict").value = entry.verdict;
  decide.querySelector(".note").value = entry.note;
  const isShown = await viewer.show({ ...entry.result, id: entry.id, name: entry.name }, levelOf(entry), entry.draft, entry.marked);
  if (shown !== entry) return;
  if (isShown) {
    if (entry.mark === "unseen") entry.mark = "seen";
    settings.shown = entry.id;
    keeper.put(settings);
    keep(entry);
    zones.show(entry.zones ?? []);
    findings.show(entry.scale);
  } else findings.clear();
  draw();
  gallery.show(entry);
};
const thumbOf = () => {
  const [width, height] = viewer.size(), small = Math.min(1, 320 / Math.max(width, height));
  const canvas = Object.assign(document.createElement("canvas"), { width: Math.max(1, width * small), height: Math.max(1, height * small) });
  viewer.drawOn(canvas.getContext("2d"), small, 1);
  return canvas.toDataURL("image/jpeg", 0.8);
};
const setLevel = (level) => {
  const entry = entryOf(viewer.shown());
  settings.level = !entry.result.photograph && level === ownLevel(entry) ? null : level;
  keeper.put(settings);
  entries.forEach(inspections.keep);
};
const changed = () => {
  const draft = viewer.draft(), entry = entryOf(viewer.shown());
  Object.assign(entry, draft ? { draft, marked: viewer.marked(), level: viewer.level(), thumb: thumbOf(), isSent: false } : { draft: null, marked: [], thumb: null });
  keep(entry);
  draw();
  findings.later();
};
const measure = async () => {
  const entry = shown, blob = entry.draft && viewer.maskBlob();  // now: another photograph may be shown soon
  await fetched(entry);
  const mask = blob ? await fileOf(blob, "mask.png") : null;
  return server.measure_cracks({ image: entry.result.image_path, levels: entry.result.levels_path, level: levelOf(entry), mask, zones: entry.zones });
};

// --- saving to the server

const inspections = createInspections(at("inspection"), {
  entries: () => entries, level: levelOf, ownLevel, say: (text) => viewer.clear(text, true), canLeave: () => mayClear("Open the inspection"),
  maskFile: (entry) => fileOf(greyPng(unpackBits(entry.draft, entry.result.size[0] * entry.result.size[1]), ...entry.result.size), "mask.png"),
  unpack: async (url) => packBits(await redOf(url)),
  changed: (entry) => { keep(entry); draw(); },
  replaced: (entry) => { keep(entry); if (shown === entry) { shown = null; open(entry); } else draw(); },
  take: (inspection, next, { isLevelKept = false, isNew = false } = {}) => {  // a new inspection takes the photographs in `next`
    const last = settings.inspection === inspection?.id ? settings.shown : null;
    show(next, { level: isLevelKept ? settings.level : null, inspection: inspection ? inspection.id : null });
    if (isNew) return batch.add(next.filter((entry) => entry.state !== "running" && (entry.path || entry.file)));
    const first = next.find((entry) => entry.id === last) || next.find((entry) => entry.state === "done");
    if (first) requestAnimationFrame(() => open(first));
  },
});

// --- sending corrections

for (const [name, kind] of [["verdict", "change"], ["note", "input"]])
  decide.querySelector("." + name).addEventListener(kind, (event) => { shown[name] = event.target.value; keep(shown); });
const send = async (verdict) => {
  const entry = shown;
  if (!entry || entry.state !== "done" || viewer.shown()?.id !== entry.id) return;
  const isMask = verdict !== "correct" && isChanged(entry);
  if (isMask && !entry.draft && !verdict && !viewer.isEmpty()) verdict = levelOf(entry) > ownLevel(entry) ? "too_thick" : "too_thin";
  const buttons = decide.querySelectorAll("button");
  if (buttons[0].disabled) return;  // it is being sent already
  buttons.forEach((button) => (button.disabled = true));
  viewer.say("Sending …");
  try {
    const blob = isMask && viewer.maskBlob(), is_empty = viewer.isEmpty();  // now: another photograph may be shown soon
    await fetched(entry);
    const mask = blob ? await fileOf(blob, "mask.png") : null;
    const answer = await call("save_correction", {
      image: entry.result.image_path, name: entry.name, mask, is_empty, verdict, note: entry.note, look_alikes: mask ? entry.marked : [],
      request_id: entry.result.request_id, model_version: entry.result.model_version,
    });
    if (answer.ok) {
      Object.assign(entry, { mark: verdict === "correct" ? "confirmed" : mask ? "corrected" : "reported", isSent: true, verdict: "", note: "" });
      if (shown === entry) for (const name of ["verdict", "note"]) decide.querySelector("." + name).value = "";
      keep(entry);
      draw();
    }
    viewer.say(answer.text, !answer.ok);
  } catch (error) {
    viewer.say(`Not sent: ${reasonOf(error)}`, true);
  }
  buttons.forEach((button) => (button.disabled = false));
};
const confirmShown = () => {
  if (shown && (shown.draft || shown.verdict)) return viewer.say("You changed the mask or said what was wrong. Send that or, to confirm the model's mask, start over.");
  return send("correct");
};
const rejectShown = () => {
  if (!inspections.id() || !shown || shown.state !== "done" || viewer.shown()?.id !== shown.id) return;
  shown.mark = shown.mark === "rejected" ? "seen" : "rejected";
  keep(shown);
  draw();
};
decide.querySelector(".confirm").addEventListener("click", confirmShown);
decide.querySelector(".reject").addEventListener("click", rejectShown);
decide.querySelector(".send").addEventListener("click", () => send(shown.verdict));

// --- downloading

at("pack").addEventListener("click", async () => {
  at("pack").disabled = true;
  tell("Packing …");
  try {
    const said = [];
    for (const entry of entries) if (entry.state === "done" && !(await fetched(entry))) throw new Error(`${entry.name} cannot be fetched`);
    for (const { name, state, text, result, draft, zones, ...entry } of entries) {
      if (state !== "done") { said.push({ name, problem: text || "is still waiting" }); continue; }
      const size = result.size, mask = draft && (await fileOf(greyPng(unpackBits(draft, size[0] * size[1]), size[0], size[1]), "mask.png"));
      said.push({ ...result, name, level: levelOf({ ...entry, draft, result }), mask, zones, scale: entry.scale });
    }
    const answer = await call("pack_photographs", said);
    if (!answer.ok) throw new Error(answer.text);
    Object.assign(document.createElement("a"), { href: answer.url, download: "" }).click();
    tell("");
  } catch (error) {
    tell(`Not packed: ${reasonOf(error)}`);
  }
  at("pack").disabled = false;
});

// --- on paper

addEventListener("beforeprint", () => {
  const lines = viewer.shown() && [
    viewer.facts() + ".", shown.note && `Note: ${shown.note}`, `Printed on ${new Date().toLocaleString([], { dateStyle: "long", timeStyle: "short" })}.`,
    entries.length > 1 && `This is 1 of ${entries.length} photographs. A report on all is made in an inspection, with "Report" or "PDF".`,
  ];
  at("printed").textContent = lines ? lines.filter(Boolean).join("\n") : "No photograph is shown.";
});

// --- keys, and restoring the page after a reload

const { splitter } = findings, { enter: finish } = viewer.keys;
Object.assign(viewer.keys, {
  j: () => open(gallery.beside(shown, 1)), k: () => open(gallery.beside(shown, -1)), c: confirmShown, x: rejectShown,
  n: () => findings.step(1), delete: () => findings.take(""), 1: () => findings.take("joint"), 2: () => findings.take("lane_marking"),
  3: () => findings.take("cable"), 4: () => findings.take("other"),
  s: splitter.toggle, arrowleft: () => splitter.step(-1), arrowright: () => splitter.step(1),
  enter: () => (splitter.cut() === false ? finish() : true),
  l: () => findings.rule(!findings.isRuling()), i: zones.toggle,
});
addEventListener("beforeunload", (event) => {
  if (batch.isRunning() || keeper.isBehind() || inspections.isBehind()) event.preventDefault();
});
// Another tab of this browser may have the same photographs, and somebody may have worked there until now.
const workOn = ({ draft, marked, zones, scale, note, verdict }) => JSON.stringify([draft && [...draft], marked, zones, scale, note, verdict]);
document.addEventListener("visibilitychange", async () => {
  if (document.hidden || inspections.id()) return;
  for (const row of await keeper.all()) {
    const entry = entryOf(row);
    if (entry?.state !== "done" || row.state !== "done" || row.result.photograph) continue;
    const isShownAnew = entry === shown && workOn(entry) !== workOn(row);
    Object.assign(entry, row);
    if (isShownAnew) { shown = null; open(entry); }
  }
  draw();
});
keeper.all().then(async (rows) => {
  Object.assign(settings, rows.find((row) => row.id === "settings"));
  entries = [...rows.filter((row) => row.id !== "settings").sort((one, other) => one.number - other.number), ...entries];
  nAdded = Math.max(nAdded, ...entries.map((entry) => entry.number));
  // Gradio loads the page again, too, when a connection is back that broke while it waited for an answer.
  for (const entry of entries.filter((each) => each.state !== "done" && !each.file && !each.path && !each.problem))
    Object.assign(entry, { state: "failed", text: "The page was loaded again before this was sent. Drop it again." });
  const unfinished = entries.filter((entry) => entry.state !== "done" && entry.state !== "failed" && !entry.file);
  const isResumed = settings.inspection && (await inspections.resume(settings.inspection));  // then a photograph is open already
  batch.add(unfinished.filter((each) => each.path && entries.includes(each)));
  draw();
  const last = entries.find((entry) => entry.id === settings.shown && entry.state === "done") || entries.find((entry) => entry.state === "done");
  if (last && !shown && !isResumed) requestAnimationFrame(() => open(last));
});
