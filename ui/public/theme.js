// Runs before the first paint, so that a chosen theme doesn't flash. A file of its own: the policy allows no inline script.
try {
  const theme = localStorage.getItem("stepwell.theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is blocked: the system's theme it is.
}
