import s from "./ChartTip.module.css";

type Row = { name: string; colour: string; value: string };

/** What a chart has at the place where the pointer is. `at` is that place, as a share of the chart's width. */
export function ChartTip({ at, title, rows }: { at: number; title: string; rows: Row[] }) {
  return (
    <div className={s.tip} style={{ "--at": at } as React.CSSProperties}>
      <strong>{title}</strong>
      {rows.map(({ name, colour, value }) => (
        <span key={name}>
          <i style={{ background: `var(${colour})` }} />
          {value} {name}
        </span>
      ))}
    </div>
  );
}
