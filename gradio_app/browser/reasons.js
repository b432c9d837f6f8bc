// Turns an error into a sentence for people.

// Without a network, browsers say "Failed to fetch", "NetworkError ..." or "Load failed", and Gradio says that the connection errored out.
const reasonOf = (error) => /fetch|network|load failed|connection errored/i.test(String(error.message || error))
  ? "The page's server cannot be reached. Check your connection, then try again." : String(error.message || error);
