// `?`: every key that is bound at the moment, those of the page one is on first.
import { useState } from "react";
import { Dialog } from "./Dialog";
import { Kbd } from "./Kbd";
import s from "./KeySheet.module.css";
import { sheetsOf } from "./sheets";
import { boundKeys } from "./useKeys";

export function KeySheet({ close }: { close: () => void }) {
  const [sheets] = useState(() => sheetsOf(boundKeys()));
  return (
    <Dialog title="Keys" isOpen isWide onClose={close}>
      <div className={s.sheets}>
        {sheets.map(({ place, lines }) => (
          <section key={place}>
            <h3>{place}</h3>
            <dl>
              {lines.map(({ keys, does, isOn }) => (
                <div key={does} className={s.row} data-off={!isOn || undefined}>
                  <dt>
                    {keys.map((key) => (
                      <Kbd key={key} keys={key} />
                    ))}
                    <span className="visually-hidden">{keys.join(", ")}</span>
                  </dt>
                  <dd>
                    {does}
                    {!isOn && <span className={s.off}> (not now)</span>}
                  </dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
