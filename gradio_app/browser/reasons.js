// Turns an error into a sentence for people, and asks the page's server.

const AWAY = "The page's server cannot be reached. Check your connection, then try again.";
const UNREADABLE = "The browser cannot read it. Check its name, that its card or drive is connected, and that you may open it. Then drop it again.";
// Without a network, browsers say "Failed to fetch", "NetworkError ..." or "Load failed", and Gradio says that the connection errored out.
const reasonOf = (error) => {
  const text = String(error.message || error), [, most_mb] = /maximum allowed size of ([0-9.]+)/.exec(text) || [];
  if (/^(NotReadable|NotFound|TypeMismatch|NoModificationAllowed|Security)Error$/.test(error.name)) return UNREADABLE;  // of files
  if (most_mb) return `The file is larger than ${Number(most_mb)} MB. Send a smaller copy, such as a JPEG.`;
  return /fetch|network|load failed|connection errored/i.test(text) ? AWAY : text;
};
// Gradio returns nothing if the server is away, and if it refuses, for example because a login has ended.
const reasonOfNothing = async () => {
  try {
    const answer = await fetch(location.href, { headers: { accept: "application/json" } });
    return answer.ok ? "The page's server did not answer. Try again." : (await answer.json()).message || `status ${answer.status}`;
  } catch (error) { return reasonOf(error); }
};

// What `act` returns; if it fails, an answer as the server gives one: `ok` is false, and `text` says why. `isAway`: the server did
// not answer at all.
const answerOf = async (act) => {
  try { return (await act()) || { ok: false, isAway: true, text: await reasonOfNothing() }; } catch (error) { return { ok: false, isAway: true, text: reasonOf(error) }; }
};
const call = (name, ...said) => answerOf(() => server[name](...said));
