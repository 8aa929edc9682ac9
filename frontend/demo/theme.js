// Light or dark. Runs before the page is painted, so that a remembered theme does not flash.

(() => {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : system.matches);

  try {
    const theme = localStorage.getItem('aldaba-theme');
    if (theme === 'light' || theme === 'dark') root.dataset.theme = theme;
  } catch {
    // Storage may be forbidden; then the system's theme counts.
  }

  addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    const tell = () => button?.setAttribute('aria-pressed', String(isDark()));
    tell();
    system.addEventListener('change', tell);
    button?.addEventListener('click', () => {
      root.dataset.theme = isDark() ? 'light' : 'dark';
      tell();
      try {
        localStorage.setItem('aldaba-theme', root.dataset.theme);
      } catch {
        // Then the choice lasts as long as the page.
      }
    });
  });
})();
