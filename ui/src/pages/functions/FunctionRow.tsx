import { Link } from "@tanstack/react-router";
import { Pause } from "lucide-react";
import type { FunctionSummary } from "~/api/api.gen";
import { Time } from "~/parts/Time";
import s from "./functions.module.css";
import { percent, short, took } from "./numbers";
import { failureRate, type Row } from "./rows";
import { Sparkline } from "./Sparkline";
import { Triggers } from "./Triggers";

type Props = { row: Row; index: number; top: number; measure: (node: Element | null) => void };

/** A function with its numbers. At phone width the same cells make a card. */
export function FunctionRow({ row: { fn, stats }, index, top, measure }: Props) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: rows are laid out by a virtual list
    // biome-ignore lint/a11y/useFocusableInteractive: the link within is
    <div
      role="row"
      ref={measure}
      data-index={index}
      aria-rowindex={index + 2}
      className={s.row}
      style={{ transform: `translateY(${top}px)` }}
    >
      <Cell className={s.who}>
        <Link to="/functions/$slug" params={{ slug: fn.slug }} className={s.name} data-row>
          {fn.name}
        </Link>
        {fn.pause && (
          <span className={s.paused}>
            <Pause size={10} fill="currentColor" aria-hidden />
            paused
          </span>
        )}
        <span className={s.slug} title={fn.slug}>
          {fn.app} · {fn.slug.startsWith(`${fn.app}-`) ? fn.slug.slice(fn.app.length + 1) : fn.slug}
        </span>
      </Cell>
      <Cell className={s.triggers}>
        <Triggers triggers={fn.triggers} most={2} />
      </Cell>
      <Cell className={s.life}>
        {stats && <Sparkline buckets={stats.buckets} label={sparkWords(stats)} />}
        <span className={s.rate} title={stats && `${stats.runs} runs in 24 hours`}>
          {stats && short(stats.runs)}
        </span>
      </Cell>
      <Cell className={s.number} name="failed">
        <FailureRate stats={stats} />
      </Cell>
      <Cell className={s.number} name="p50 / p95">
        {stats?.p50_ms == null ? <None /> : `${took(stats.p50_ms)} / ${took(stats.p95_ms ?? stats.p50_ms)}`}
      </Cell>
      <Cell className={s.number} name="backlog">
        {stats?.backlog ? <strong>{short(stats.backlog)}</strong> : <None />}
      </Cell>
      <Cell className={s.number} name="running">
        {stats?.running ? <strong className={s.running}>{short(stats.running)}</strong> : <None />}
      </Cell>
      <Cell className={s.error}>
        {stats?.last_failed && (
          <Link to="/runs/$id" params={{ id: stats.last_failed.run_id }} title={stats.last_failed.error ?? undefined}>
            <span className={s.errorText}>{stats.last_failed.error ?? "failed"}</span>
            <span className={s.when}>
              <Time at={stats.last_failed.at} />
            </span>
          </Link>
        )}
      </Cell>
    </div>
  );
}

function Cell({
  className,
  name,
  children,
}: {
  className?: string | undefined;
  name?: string;
  children: React.ReactNode;
}) {
  return (
    // biome-ignore lint/a11y/useSemanticElements: rows are laid out by a virtual list
    <div role="cell" className={className} data-name={name}>
      {children}
    </div>
  );
}

function FailureRate({ stats }: { stats: FunctionSummary | undefined }) {
  const rate = failureRate(stats);
  if (rate === null) return <None />;
  return <span className={rate > 0 ? s.bad : s.good}>{percent(rate)}</span>;
}

function None() {
  return <span className={s.none}>–</span>;
}

function sparkWords(stats: FunctionSummary): string {
  return `${stats.runs} runs in 24 hours, ${stats.failed} failed`;
}
