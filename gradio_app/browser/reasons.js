// Turns an error into a sentence for people, and asks the page's server.

const AWAY = "The page's server cannot be reached. Check your connection, then try again.";
// Without a network, browsers say "Failed to fetch", "NetworkError ..." or "Load failed", and Gradio says that the connection errored out.
const reasonOf = (error) => /fetch|network|load failed|connection errored/i.test(String(error.message || error)) ? AWAY : String(error.message || error);
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
