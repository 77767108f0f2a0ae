import { type QueryClient, queryOptions, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import type { Timeline } from "~/api/api.gen";
import { type ApiError, api } from "~/api/client";
import { read } from "~/api/query";
import { mergeTimeline, newsAfter } from "./merge";
import { spansQuery } from "./useSpans";

/** Between two requests for news of a busy run. The first is made at once. */
const NEWS_MS_MIN = 200;

export function timelineQuery(id: string) {
  return queryOptions<Timeline, ApiError>({
    queryKey: ["run", id, "timeline"],
    queryFn: ({ signal }) => api("GET /api/runs/{id}/timeline", { path: { id }, query: { payloads: false }, signal }),
  });
}

export function explainQuery(id: string) {
  return read("GET /api/runs/{id}/explain", { path: { id } });
}

/** A run's rows without payloads, and what tells it that something of the run has changed. */
export function useTimeline(id: string) {
  const client = useQueryClient();
  const news = useRef<News>(undefined);
  useEffect(() => {
    const own = new News(client, id);
    news.current = own;
    return () => own.stop();
  }, [client, id]);
  const timeline = useQuery(timelineQuery(id));
  const why = useQuery(explainQuery(id));
  return { timeline, why: why.data, hasChanged: () => news.current?.fetch() };
}

/** Fetches what is new of a run, one request at a time, however often it changes. */
class News {
  private client: QueryClient;
  private id: string;
  private isBusy = false;
  private isWanted = false;
  private isStopped = false;

  constructor(client: QueryClient, id: string) {
    this.client = client;
    this.id = id;
  }

  stop() {
    this.isStopped = true;
  }

  async fetch() {
    this.isWanted = true;
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      while (this.isWanted && !this.isStopped) {
        this.isWanted = false;
        const pause = new Promise((resolve) => setTimeout(resolve, NEWS_MS_MIN));
        await this.once();
        await pause;
      }
    } catch {
      // The banner says that the server is away; when it is back, the stream asks for all of it again.
    } finally {
      this.isBusy = false;
    }
  }

  private async once() {
    const query = timelineQuery(this.id);
    const known = await this.client.ensureQueryData(query);
    const path = { id: this.id };
    const [news] = await Promise.all([
      api("GET /api/runs/{id}/timeline", { path, query: { payloads: false, after: newsAfter(known) } }),
      this.client.invalidateQueries({ queryKey: explainQuery(this.id).queryKey }),
      this.client.invalidateQueries({ queryKey: spansQuery(this.id).queryKey }),
    ]);
    this.client.setQueryData(query.queryKey, (latest) => mergeTimeline(latest ?? known, news));
  }
}
