import { ArrowUp } from "lucide-react";
import { Kbd } from "~/parts/Kbd";
import { useKeys } from "~/parts/useKeys";
import s from "./NewButton.module.css";
import { FEED_ROWS_MAX } from "./useFeed";

/** How many new rows there are; they come in when it is pressed. It lies over the list: nothing moves for it. */
export function NewButton({ count, onShow, isHotkeyOn }: { count: number; onShow: () => void; isHotkeyOn: boolean }) {
  const show = { does: "Show what is new", act: onShow };
  useKeys({ n: show, ".": show }, isHotkeyOn && count > 0);
  return (
    <div className={s.place} role="status">
      {count > 0 && (
        <button type="button" className={s.button} onClick={onShow}>
          <ArrowUp size={13} aria-hidden />
          {count < FEED_ROWS_MAX ? count : `${FEED_ROWS_MAX}+`} new
          <Kbd keys="n" />
        </button>
      )}
    </div>
  );
}
