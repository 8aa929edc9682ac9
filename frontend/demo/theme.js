// Runs before the page is painted, so that a remembered theme does not flash.
'use strict';

try {
  const theme = localStorage.getItem('aldaba-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; then the system's theme counts.
}
