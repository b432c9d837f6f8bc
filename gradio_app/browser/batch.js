// Sends photographs and has them predicted, a few at a time; if the server is busy, it tries again later.

const AT_ONCE = 3, MOST_TRIES = 8, LONGEST_WAIT_S = 30;

// `ask` sends one entry's photograph and returns the answer; `onChange`: the state or text of an entry has changed.
function createBatch(ask, onChange) {
  const queue = [];
  let nRunning = 0, isStopped = false;
  const become = (entry, state, text = "") => { Object.assign(entry, { state, text }); onChange(entry); };
  const predict = async (entry) => {
    for (let tries = 1; ; tries++) {
      become(entry, "running");
      const answer = await answerOf(() => ask(entry)), { text, retry_after_s } = answer;
      if (answer.ok) { entry.result = answer; return become(entry, "done"); }
      if (!retry_after_s || tries === MOST_TRIES) return become(entry, "failed", text);
      const wait_s = Math.min(retry_after_s * tries, LONGEST_WAIT_S);
      become(entry, "running", `The server is busy. Next try in ${wait_s} s.`);
      await new Promise((resolve) => setTimeout(resolve, wait_s * 1000));
      if (isStopped) return become(entry, "failed", "Stopped before the server had time for it.");
    }
  };
  const work = async () => {
    nRunning++;
    while (queue.length) await predict(queue.shift());
    nRunning--;
    onChange();
  };
  return {
    add: (entries) => {
      isStopped = false;
      for (const entry of entries) become(entry, "waiting");
      queue.push(...entries);
      while (nRunning < Math.min(AT_ONCE, nRunning + queue.length)) work();
    },
    stop: () => { isStopped = true; for (const entry of queue.splice(0)) become(entry, "failed", "Stopped before it was sent."); },
    isRunning: () => nRunning > 0,
  };
}
