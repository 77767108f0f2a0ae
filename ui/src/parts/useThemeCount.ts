import { useEffect, useState } from "react";
import { THEME_CHANGED } from "./ThemeSwitch";

/** How often the colours have changed: what paints by itself paints anew when this does. */
export function useThemeCount(): number {
  const [count, setCount] = useState(0);
  useEffect(() => {
    const change = () => setCount((was) => was + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    window.addEventListener(THEME_CHANGED, change);
    system.addEventListener("change", change);
    return () => {
      window.removeEventListener(THEME_CHANGED, change);
      system.removeEventListener("change", change);
    };
  }, []);
  return count;
}
