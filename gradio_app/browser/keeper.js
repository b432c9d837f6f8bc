// Keeps rows with an `id` in this browser (IndexedDB), so that a reload, Back or a closed tab loses no work. Pages under other
// prefixes of the same host keep their own.

function openKeeper(table) {
  let opened = null;
  // Opened again once the browser has closed it: after its data were cleared, or while the page was in the background (iOS).
  const open = () => (opened ||= new Promise((resolve, reject) => {
    const request = indexedDB.open("crack-detection" + location.pathname.replace(/\/$/, ""), 1);
    request.onupgradeneeded = () => ["inspect", "review"].forEach((name) => request.result.createObjectStore(name, { keyPath: "id" }));
    request.onsuccess = () => { request.result.onclose = () => { opened = null; }; resolve(request.result); };
    request.onerror = () => { opened = null; reject(request.error); };
  }));
  let nUnwritten = 0, hasFailed = false;
  const run = async (mode, act) => {
    const database = await open();
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(table, mode), request = act(transaction.objectStore(table));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  };
  const write = async (act) => {
    nUnwritten++;
    try { await run("readwrite", act); } catch (error) {
      hasFailed = true;
      console.warn("crack detection: this browser keeps nothing:", error);
    }
    nUnwritten--;
  };
  return {
    all: () => run("readonly", (rows) => rows.getAll()).catch(() => []),
    get: (id) => run("readonly", (rows) => rows.get(id)).catch(() => undefined),
    put: (row) => write((rows) => rows.put(row)),
    remove: (id) => write((rows) => rows.delete(id)),
    clear: () => write((rows) => rows.clear()),
    isBehind: () => nUnwritten > 0 || hasFailed,
  };
}

// A mask as bits: an eighth of its bytes.
function packBits(mask) {
  const bits = new Uint8Array(Math.ceil(mask.length / 8));
  for (let at = 0; at < mask.length; at++) if (mask[at]) bits[at >> 3] |= 1 << (at & 7);
  return bits;
}

function unpackBits(bits, length) {
  const mask = new Uint8Array(length);
  for (let at = 0; at < length; at++) mask[at] = (bits[at >> 3] >> (at & 7)) & 1;
  return mask;
}
