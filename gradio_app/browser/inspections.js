// Inspections on the server: begin, list, open, report and delete them, and save each decision about a photograph at once.
// Left to others: showing, painting and measuring (inspect.js), comparing (changes.js).

const INSPECTIONS = `
  <div class="heading"><strong class="title"></strong> <span class="facts"></span></div>
  <span class="saved" role="status" aria-live="polite"></span>
  <span class="group clash" hidden>
    <button type="button" class="mine" title="Save your version over the one that somebody else saved">Keep mine</button>
    <button type="button" class="theirs" title="Drop your version and use the one that somebody else saved">Take theirs</button>
  </span>
  <span class="group of-one" hidden>
    <button type="button" class="report" title="Download the report as a page for any browser">Report ↓</button>
    <button type="button" class="pdf" title="Download the report as PDF">PDF ↓</button>
    <button type="button" class="xlsx" title="Download the tables of all photographs and cracks, for Excel">Excel ↓</button>
    <button type="button" class="compare" title="See what has changed since an earlier inspection of the same place" aria-haspopup="dialog">Compare</button>
    <button type="button" class="edit" title="Change the name, structure, element, date or inspector">Edit</button>
    <button type="button" class="leave" title="Close this inspection; everything stays on the server">Close</button>
  </span>
  <button type="button" class="all" aria-haspopup="dialog">Inspections</button>
  <dialog class="inspections" aria-label="Inspections">
    <header><h2>Inspections</h2><button type="button" class="shut" aria-label="Close this list">✕</button></header>
    <div class="columns">
      <section aria-label="Kept on the server"><p class="none"></p><ul></ul></section>
      <form>
        <h3></h3>
        <label>Name <input type="text" name="name" required maxlength="200" placeholder="such as Spring 2026"></label>
        <label>Structure <input type="text" name="structure" maxlength="200" placeholder="such as Bridge 7, A81"></label>
        <label>Element <input type="text" name="element" maxlength="200" placeholder="such as Pier 3, north face"></label>
        <label>Date <input type="date" name="date"></label>
        <label>Inspector <input type="text" name="inspector" maxlength="200" placeholder="such as M. Weber"></label>
        <label class="choice"><input type="checkbox" name="position"> Keep where and when the photographs were taken</label>
        <p class="wrong" role="alert"></p>
        <button class="primary begin"></button>
      </form>
    </div>
  </dialog>
  <dialog class="changes" aria-label="What has changed"></dialog>`;
const DECIDED = ["confirmed", "corrected", "rejected"], SAVE_AFTER_MS = 700;

// `of`: what inspect.js provides: `entries()`, `level(entry)`, `ownLevel(entry)`, `maskFile(entry)` (a path), `unpack(url)` (a
// mask as bits), `take(inspection, entries, how)` (show these instead), `changed(entry)`, `replaced(entry)` (somebody else's
// version in place of one's own), `canLeave()`, `say(text)`.
function createInspections(root, of) {
  root.innerHTML = INSPECTIONS;
  const find = (name) => root.querySelector("." + name), dialog = find("inspections"), form = root.querySelector("form"), list = root.querySelector("ul");
  let open = null, edited = null, saving = null, timer = 0;
  const unsaved = new Set(), clashing = new Map(), loaded = new Set();

  const tell = (text = "", isError = false) => {
    find("saved").textContent = text;
    find("saved").classList.toggle("error", isError);
  };
  const draw = () => {
    find("title").textContent = open ? open.name : "No inspection";
    find("facts").textContent = open ? about(open) : "Photographs are kept for a day. To keep them longer, begin an inspection.";
    find("of-one").hidden = !open;
    find("clash").hidden = !clashing.size;
    root.classList.toggle("open", Boolean(open));
    comparison.draw();
  };

  // --- saving decisions

  const decided = (entry) => (DECIDED.includes(entry.mark) ? entry.mark : "unseen");
  const wanted = (entry) => {
    const level = of.level(entry), scale = entry.scale;
    return {
      state: decided(entry), note: entry.note || "",
      threshold: level === of.ownLevel(entry) ? "" : String(level / 255),
      mm_per_px: scale ? String(scale.mm_per_px) : "", scale_note: scale ? scale.source : "",
      look_alikes: JSON.stringify(entry.marked || []), zones: JSON.stringify(entry.zones || []),
    };
  };
  const changes = (entry) => {
    const now = wanted(entry), said = Object.fromEntries(Object.entries(now).filter(([name, value]) => entry.kept[name] !== value));
    if ("mm_per_px" in said || "scale_note" in said) Object.assign(said, { mm_per_px: now.mm_per_px, scale_note: now.scale_note });
    return said;
  };
  const isMaskNew = (entry) => (entry.draft || null) !== (entry.keptDraft || null);
  const isChanged = (entry) => isMaskNew(entry) || Object.keys(changes(entry)).length > 0;
  const save = async (entry) => {
    const now = wanted(entry), said = changes(entry), draft = entry.draft || null, isNew = isMaskNew(entry);  // as it is now: it may change while it is sent
    if (!isNew && !Object.keys(said).length) return true;
    const answer = await answerOf(async () => {
      if (isNew) said.mask = draft ? await of.maskFile(entry) : "";
      return server.change_photograph({ ...said, inspection: open.id, photograph: entry.result.photograph, etag: entry.result.etag });
    });
    if (answer.ok) {
      Object.assign(entry, { kept: now, keptDraft: draft, hasMask: answer.has_mask });
      Object.assign(entry.result, { etag: answer.etag, cut: answer.cut, thumb_url: answer.thumb_url });
      if (!entry.draft) entry.thumb = null;
      of.changed(entry);
      return true;
    }
    tell(`Not saved: ${answer.text}`, true);
    if (answer.status === 409) clashing.set(entry.id, entry);
    draw();
    return answer.status === 409;  // a conflict does not stop the others
  };
  const flush = () => (saving ||= (async () => {
    await null;  // so `saving` is set before this can end
    clearTimeout(timer);
    let isFine = true;
    for (const entry of unsaved) {
      if (!open || !of.entries().includes(entry)) { unsaved.delete(entry); continue; }
      if (clashing.has(entry.id)) continue;
      tell("Saving …");
      unsaved.delete(entry);
      isFine = await save(entry);
      if (!isFine) { unsaved.add(entry); break; }
    }
    saving = null;
    if (isFine && open && !clashing.size) tell(unsaved.size ? "Saving …" : "All saved.");
    if (!isFine) timer = setTimeout(flush, 5000);
    return isFine;
  })());
  const keep = (entry) => {
    if (!open || !entry.result || !entry.result.photograph || entry.state !== "done") return;
    if (!isChanged(entry)) return;
    unsaved.add(entry);
    tell("Saving …");
    clearTimeout(timer);
    timer = setTimeout(flush, SAVE_AFTER_MS);
  };
  const isBehind = () => Boolean(open && (unsaved.size || saving));
  const settle = async (isMine) => {
    for (const [id, entry] of clashing) {
      const answer = await call("load_photograph", { inspection: open.id, photograph: entry.result.photograph });
      if (!answer.ok) return tell(answer.text, true);
      clashing.delete(id);
      if (isMine) { entry.result.etag = answer.etag; entry.kept = {}; keep(entry); } else {
        unsaved.delete(entry);
        loaded.delete(id);
        Object.assign(entry, fresh(answer, entry.number), { id });
        of.replaced(entry);
      }
    }
    draw();
    tell(isMine ? "Saving …" : "All saved.");
  };

  // --- loading photographs

  const fresh = (found, number) => {
    const entry = {
      number, name: found.name, state: "done", text: "", mark: found.decided, note: found.note, verdict: "", scale: found.scale, draft: null, keptDraft: null, marked: found.marked, zones: found.zones,
      thumb: null, hasMask: found.has_mask, isSent: found.decided === "corrected", level: levelAt(found.cut), result: found,
    };
    const isOwn = levelAt(found.cut) === of.ownLevel(entry), scale = found.scale;
    entry.kept = {
      state: found.decided, note: found.note, threshold: isOwn ? "" : String(levelAt(found.cut) / 255),
      mm_per_px: scale ? String(scale.mm_per_px) : "", scale_note: scale ? scale.source : "",
      look_alikes: JSON.stringify(found.marked), zones: JSON.stringify(found.zones),
    };
    return entry;
  };
  const merged = (found) => {
    const local = new Map(of.entries().filter((entry) => entry.result && entry.result.photograph).map((entry) => [entry.result.photograph, entry]));
    const kept = found.map((each, at) => {
      const mine = local.get(each.photograph);
      if (mine && mine.kept && (mine.result.etag === each.etag || isChanged(mine))) return Object.assign(mine, { number: at + 1 });
      return { ...fresh(each, at + 1), id: `${open.id}-${each.photograph}` };
    });
    const onTheWay = of.entries().filter((entry) => entry.state !== "done");
    return [...kept, ...onTheWay.map((entry, at) => Object.assign(entry, { number: kept.length + 1 + at }))];
  };
  // The page keeps its copies for a day, and none over a restart.
  const isThere = async (entry) => {
    try { return (await fetch(entry.result.levels_url, { method: "HEAD" })).ok; } catch { return true; }  // without a network, ask for nothing
  };
  const load = async (entry) => {
    if (loaded.has(entry.id) && (await isThere(entry))) return true;
    const answer = await answerOf(async () => {
      const found = await server.load_photograph({ inspection: open.id, photograph: entry.result.photograph });
      if (found?.mask_url && !entry.draft && !entry.keptDraft)
        Object.assign(entry, { draft: (entry.keptDraft = await of.unpack(found.mask_url)), level: levelAt(found.cut) });
      return found;
    });
    if (!answer.ok) { of.say(answer.text, true); return false; }
    const { image_url, image_path, levels_url, levels_path } = answer;
    Object.assign(entry.result, { image_url, image_path, levels_url, levels_path });
    loaded.add(entry.id);
    return true;
  };
  const add = async (entry, quality) => {
    const answer = await call("add_photograph", { inspection: open.id, path: entry.path, name: entry.name, quality });
    if (!answer.ok) return answer;
    const { mark, scale, draft, level, note, marked, zones } = entry;
    const isKnown = of.entries().some((other) => other !== entry && other.result && other.result.photograph === answer.photograph);
    if (isKnown) return { ok: false, text: "This photograph is already in the inspection." };
    Object.assign(entry, { ...fresh(answer, entry.number), id: entry.id, state: entry.state });
    if (draft) Object.assign(entry, { draft, level, marked });
    Object.assign(entry, { scale: scale || entry.scale, note: note || entry.note, zones: zones || entry.zones, mark: DECIDED.includes(mark) || entry.mark === "unseen" ? mark : entry.mark });
    return answer;
  };

  // --- opening, closing, reporting

  const show = async (id, isResumed = false) => {
    const answer = await call("open_inspection", id);
    if (!answer.ok) {
      tell(answer.text, true);
      if (isResumed && answer.status === 404) of.take(null, []);  // somebody deleted it
      else if (isResumed) setTimeout(() => open || show(id, true), 5000);
      return false;
    }
    open = answer.inspection;
    unsaved.clear(); clashing.clear(); loaded.clear();
    const pending = isResumed ? of.entries().filter((entry) => entry.kept && isChanged(entry)) : [];
    of.take(open, isResumed ? merged(answer.photographs) : answer.photographs.map((each, at) => ({ ...fresh(each, at + 1), id: `${open.id}-${each.photograph}` })), { isLevelKept: pending.length > 0 });
    draw();
    tell("All saved.");
    pending.forEach(keep);
    return true;
  };
  const leave = async () => {
    if (open && !(await flush()) && !confirm("The server does not answer, and the last changes are not saved. Close anyway?")) return;
    open = null;
    unsaved.clear(); clashing.clear(); loaded.clear();
    of.take(null, []);
    draw();
    tell();
  };
  const report = async (button, format, what) => {
    find(button).disabled = true;
    await flush();
    tell(`Writing the ${what} …`);
    const answer = await call("report_inspection", { id: open.id, format });
    find(button).disabled = false;
    if (!answer.ok) return tell(`No ${what}: ${answer.text}`, true);
    Object.assign(document.createElement("a"), { href: answer.url, download: "" }).click();
    tell(`The ${what} is downloaded.`);
  };

  // --- the list and the form

  const fill = (inspection) => {
    edited = inspection;
    for (const { name } of form.elements) if (name) form.elements[name].value = (inspection && inspection[name]) || "";
    form.elements.position.checked = Boolean(inspection && inspection.is_position_kept);
    if (!inspection) form.elements.date.value = new Date(Date.now() - 60000 * new Date().getTimezoneOffset()).toISOString().slice(0, 10);
    const n = open ? 0 : of.entries().length;
    form.querySelector("h3").textContent = inspection ? "Change" : "New inspection";
    find("begin").textContent = inspection ? "Save" : n ? `Begin, with the ${n === 1 ? "photograph" : n + " photographs"} on this page` : "Begin";
    find("wrong").textContent = "";
  };
  const about = (inspection) => [inspection.structure, inspection.element, inspection.date, inspection.inspector].filter(Boolean).join(" · ");
  const counted = ({ n_photographs: n, n_by_state: by }) =>
    [`${n} ${n === 1 ? "photograph" : "photographs"}`, ...DECIDED.filter((state) => by[state]).map((state) => `${by[state]} ${state}`)].join(", ");
  const line = (inspection) => {
    const item = document.createElement("li");
    item.innerHTML = `<div><strong></strong><span class="what"></span><span class="how"></span></div><span class="group"><button type="button" class="open">Open</button><button type="button" class="delete">Delete</button></span>`;
    item.querySelector("strong").textContent = inspection.name;
    item.querySelector(".what").textContent = about(inspection);
    item.querySelector(".how").textContent = counted(inspection);
    item.classList.toggle("current", Boolean(open && open.id === inspection.id));
    for (const name of ["open", "delete"]) item.querySelector("." + name).setAttribute("aria-label", `${name === "open" ? "Open" : "Delete"} ${inspection.name}`);
    item.querySelector(".open").addEventListener("click", async () => {
      if (open ? !(await flush()) && !confirm("The last changes are not saved. Open another inspection anyway?") : !of.canLeave()) return;
      if (await show(inspection.id)) dialog.close();
    });
    item.querySelector(".delete").addEventListener("click", async () => {
      if (!confirm(`Delete "${inspection.name}" with its ${counted(inspection)}? This cannot be undone.`)) return;
      const answer = await call("delete_inspection", inspection.id);
      if (!answer.ok) return (find("wrong").textContent = answer.text);
      if (open && open.id === inspection.id) { open = null; of.take(null, []); draw(); tell(); }
      refresh();
    });
    return item;
  };
  const refresh = async () => {
    find("none").textContent = "…";
    const answer = await call("list_inspections");
    find("none").textContent = answer.ok ? (answer.items.length ? "" : "None yet. Begin one: its photographs, masks and decisions are kept until somebody deletes it.") : answer.text;
    find("none").classList.toggle("error", !answer.ok);
    list.replaceChildren(...(answer.items || []).map(line));
  };
  const choose = (inspection) => { fill(inspection); if (!dialog.open) dialog.showModal(); refresh(); };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    find("begin").disabled = true;
    const said = Object.fromEntries(new FormData(form));
    const answer = await call("save_inspection", { ...said, position: form.elements.position.checked ? "kept" : "dropped", id: edited && edited.id });
    find("begin").disabled = false;
    if (!answer.ok) return (find("wrong").textContent = answer.text);
    dialog.close();
    const isNew = !edited, onPage = open ? [] : of.entries();
    if (isNew && open) await flush();
    open = answer.inspection;
    draw();
    tell("All saved.");
    if (!isNew) return;
    unsaved.clear(); clashing.clear(); loaded.clear();
    of.take(open, onPage, { isLevelKept: true, isNew: true });
  });
  for (const [name, act] of [["all", () => choose(null)], ["edit", () => choose(open)], ["shut", () => dialog.close()], ["leave", leave],
    ["report", () => report("report", "html", "report")], ["pdf", () => report("pdf", "pdf", "report")],
    ["xlsx", () => report("xlsx", "xlsx", "workbook")], ["mine", () => settle(true)], ["theirs", () => settle(false)]])
    find(name).addEventListener("click", act);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  const comparison = createChanges(find("changes"), find("compare"), { open: () => open, flush, about, counted });
  draw();

  return { keep, load, add, isThere, isBehind, resume: (id) => show(id, true), id: () => (open ? open.id : null) };
}
