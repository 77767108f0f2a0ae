"""Every limit, with its unit and its reason. Crossing one is a named error, never a silent cut."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
SECOND_MS: Final = 1000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

# Ingestion (protocol 2.1).
EVENTS_PER_REQUEST_MAX: Final = 5_000
EVENT_BYTES_MAX: Final = 3 * MIB  # the protocol's absolute limit for one event
INGEST_BODY_BYTES_MAX: Final = 32 * MIB  # bounds the memory that one request can pin
EVENT_NAME_CHARS_MAX: Final = 512
EVENT_ID_CHARS_MAX: Final = 512  # an id is an index key
EVENT_TS_MIN: Final = 315_532_800_000  # 1980-01-01: catches seconds sent as milliseconds
EVENT_TS_MAX: Final = 4_102_444_800_000  # 2100-01-01
EVENT_ID_WINDOW_MS: Final = DAY_MS  # protocol 2.4
JSON_DEPTH_MAX: Final = 256  # parsers in apps and here recurse; half of what Python's stack takes

# Registration (protocol 3.4).
REGISTER_BODY_BYTES_MAX: Final = 8 * MIB
FUNCTIONS_PER_APP_MAX: Final = 2_000
TRIGGERS_PER_FUNCTION_MAX: Final = 10
TRIGGER_EVENT_CHARS_MAX: Final = 255
CRON_CHARS_MAX: Final = 255
EXPRESSION_CHARS_MAX: Final = 10_000
EXPRESSION_STEPS_MAX: Final = 10_000  # comprehension iterations of one evaluation
WAIT_PATH_BYTES_MAX: Final = 256  # of a condition's indexed path and value: PostgreSQL's index rows end at 2.7 kB
WAIT_VALUE_BYTES_MAX: Final = 1_024
RETRIES_MAX: Final = 20
RETRIES_DEFAULT: Final = 4

# Flow control (protocol 3.4, 11).
FLOW_COUNT_MAX: Final = 1_000_000_000  # any limit or burst: beyond it, it is a mistake
FLOW_PERIOD_MS_MIN: Final = SECOND_MS
THROTTLE_PERIOD_MS_MAX: Final = 7 * DAY_MS
RATE_PERIOD_MS_MAX: Final = DAY_MS
RATE_LOG_MAX: Final = 1_000  # starts that are remembered one by one; of more, how many there were in small spans
DEBOUNCE_PERIOD_MS_MAX: Final = 7 * DAY_MS
BATCH_SIZE_MIN: Final = 2
BATCH_SIZE_MAX: Final = 100
BATCH_TIMEOUT_MS_MAX: Final = 10 * MINUTE_MS
BATCH_BYTES_MAX: Final = 10 * MIB  # a batch that has as much starts; its last event may bring it over
PRIORITY_MS_MAX: Final = 600 * SECOND_MS  # either way
CONCURRENCY_RULES_MAX: Final = 2  # of each kind
CANCEL_RULES_MAX: Final = 5
RUN_TIMEOUT_MS_MAX: Final = 366 * DAY_MS  # of a run, a cancel rule, a debounce
JITTER_MS_MIN: Final = SECOND_MS
JITTER_MS_MAX: Final = 5 * MINUTE_MS
PARTITIONS_CACHED: Final = 65_536  # a few hundred bytes each

# Runs (protocol 4.9.5).
STEPS_PER_RUN_MAX: Final = 1_000  # the default of a setting
STATE_BYTES_MAX: Final = 32 * MIB
STEP_OUTPUT_BYTES_MAX: Final = 4 * MIB
STEP_INPUT_BYTES_MAX: Final = 4 * MIB
STEP_INPUT_KEPT_BYTES_MAX: Final = 64 * KIB  # to be shown: what is more isn't kept once the step has ended
SIGNAL_NAME_CHARS_MAX: Final = 512  # a name is an index key
USE_API_BYTES: Final = 4 * MIB  # larger state isn't sent in the call: the SDK fetches it (protocol 4.3)
REPLY_BYTES_MAX: Final = 8 * MIB
OPS_PER_REPLY_MAX: Final = 5_000
SLEEP_MS_MAX: Final = 366 * DAY_MS  # of waits and time-outs, too
LOOK_BACK_EVENTS_MAX: Final = 10_000  # events of one name that a wait looks through, while others of the name wait
LOST_ATTEMPTS_MAX: Final = 10  # in a row; then the run fails rather than crash its app for ever
RETRY_AFTER_MS_MIN: Final = SECOND_MS
RETRY_AFTER_MS_MAX: Final = DAY_MS
PLACE_KEPT_MS: Final = 5 * SECOND_MS  # how far a run's next job may stand before jobs that became due later

# Calls to apps.
CALL_TIMEOUT_MS: Final = 2 * HOUR_MS  # protocol 4.2
CALL_BODY_BYTES_MAX: Final = STATE_BYTES_MAX  # what an app reads of one call: servers send no more than a run's state
CALL_CONNECT_TIMEOUT_MS: Final = 10 * SECOND_MS
RESPONSE_HEAD_BYTES_MAX: Final = 64 * KIB  # headers of one answer: several times what servers and proxies send
CALLS_PER_APP_MAX: Final = 100  # calls in flight to one app from one replica; the default of a setting
TIMERS_AT_ONCE_MAX: Final = 500  # sleeps and waits that one replica ends at once
FETCHES_AT_ONCE_MAX: Final = 100  # requests that one replica makes for steps at once
SYNC_TIMEOUT_MS: Final = 10 * SECOND_MS  # protocol 3.8
REDIRECTS_MAX: Final = 3
ENDPOINT_SILENCE_MS: Final = 10 * MINUTE_MS  # of an app that works on a run by itself; then the server calls it
ENDPOINT_WAIT_S_MAX: Final = 300.0  # for the output of its run (protocol 7.4)
ENDPOINT_LOOK_S: Final = 2.0  # between looks for ends of runs at other replicas, one for all who wait
ENDPOINT_TOKEN_S: Final = 3_600  # how long a token for the output is good (protocol 7.4)

# Requests for steps (protocol 4.8); an answer is bounded as a step's output.
FETCH_TIMEOUT_MS: Final = 15 * MINUTE_MS  # with all redirects; clients of models' providers wait for 10 minutes
FETCH_OPTIONS_BYTES_MAX: Final = 4 * MIB  # protocol 4.9.5: a step's input
FETCH_URL_CHARS_MAX: Final = 16 * KIB  # servers take 8 to 16
FETCH_HEADERS_CHARS_MAX: Final = 64 * KIB
FETCH_ERROR_CHARS_MAX: Final = 16 * KIB  # of a refusal's text, which an error holds twice

# The store.
COMMIT_BATCH_MAX: Final = 500  # members of one group commit: bounds the time that the writer holds the lock
CLAIM_BATCH_MAX: Final = 200
LOCKS_MAX: Final = 1_000  # names and keys that one transaction locks: a server of PostgreSQL has room for some thousand
WAITS_ENDED_MAX: Final = 500  # waits that events end in one transaction: more would hold up the commits of others
GRACE_S_MAX: Final = 7_200  # as long as a call may take
TAKE_OVER_S: Final = 10.0  # after which a dead replica's work goes on elsewhere; the default of a setting
RETENTION_MS: Final = 30 * DAY_MS  # how long what has ended is kept; the default of a setting
RETENTION_MS_MIN: Final = HOUR_MS  # a send that is tried again must find its event
FAULT_AGE_MS: Final = MINUTE_MS  # what is younger may be on its way, and is no fault that the reconciler mends
SIGNAL_KEPT_MS: Final = 30 * DAY_MS  # a signal that was sent before anybody waited for it
CHECK_ROWS_MAX: Final = 500  # that the reconciler looks at by one query
CHECKS_MAX: Final = 40  # of one table in a minute; the next goes on where they end
PRUNE_RUNS_MAX: Final = 100  # members of one deletion: with the weight below, a few ms of the writer
PRUNE_WEIGHT_MAX: Final = 2_000  # its rows and KiB
PAGE_ROWS_MAX: Final = 100
OUTCOMES_MAX: Final = 1_000  # runs of one event that an explanation names
LINE_COUNTED_MAX: Final = 1_000  # jobs that are counted when somebody asks for a place in line

# What lists and counts look at, so that a question is answered quickly however much history there is. What was left
# out is said in the answer.
RUNS_SCANNED_MAX: Final = 20_000  # that a page of a list looks through by a filter that has no index
RUNS_COUNTED_MAX: Final = 200_000  # ended runs that a chart counts, the newest first
DURATIONS_READ_MAX: Final = 20_000  # of ended runs, for percentiles: the newest
FAILURES_READ_MAX: Final = 1_000  # of one function, that are grouped by error
FAILURES_SCANNED_MAX: Final = 5_000  # among which each function's last failure is looked for
NAMES_SCANNED_MAX: Final = 1_000  # events among which names and examples are looked for
EXAMPLE_BYTES_MAX: Final = 16 * KIB  # of an event that is shown as an example
HOURS_MAX: Final = 24 * 366  # of a chart
LIMITS_SHOWN_MAX: Final = 20  # keys of concurrency limits
OPEN_COUNTED_MAX: Final = 10_000  # runs that haven't ended
EVENTS_SCANNED_MAX: Final = 20_000  # likewise
WHERE_SEARCH_MS: Final = 150  # of one page of a search by a condition
WHERE_SLICE_MS: Final = 10  # of it at a time: then others have the event loop
WHERE_SCANNED_MAX: Final = 2_000  # rows that the database looks through between two looks at the clock
WHERE_ROWS_MAX: Final = 200  # whose contents are looked at between two looks at the clock
WHERE_BYTES_MAX: Final = MIB  # of them at once, or one: the event loop waits while they are decoded
NEEDLE_BYTES_MAX: Final = 1_024
CAUSED_SHOWN_MAX: Final = 10  # runs of an event, in a list of events
RARE_EVENTS_MAX: Final = 500  # of one name; the runs of more are found by looking through the newest runs
INSTANT_MAX: Final = 253_370_764_800_000  # 9999-01-01: a year of room before times can't be written any more
BUCKETS_MAX: Final = 500  # of a chart
RUN_IDS_MAX: Final = 100  # that a list is asked for
ERROR_SHOWN_BYTES_MAX: Final = 4 * KIB  # of an error, in lists
ERROR_LINE_CHARS_MAX: Final = 200
PREVIEWED_BYTES_MAX: Final = (
    4 * KIB
)  # of an event that is shown in one line; what a larger one says is read on its page
PREVIEW_CHARS_MAX: Final = 200
MEMO_SHOWN_BYTES_MAX: Final = 16 * KIB  # of a step's result, where only what it links to is wanted
LINKS_MAX: Final = 100  # children, and sent events, of a run that are named
READ_S_MAX: Final = 5.0  # for a question of the dashboard; then the answer is an error

# Logs and spans of runs.
LOG_LINE_BYTES_MAX: Final = 16 * KIB  # of a message, and of what it says besides; more is cut, and says so
LOG_LINES_PER_RUN_MAX: Final = 10_000  # what somebody reads; the rest is counted
SPANS_PER_RUN_MAX: Final = 10_000
SPANS_SHOWN_BYTES_MAX: Final = 8 * MIB  # of their attributes, in one answer: prompts of models, say
LOG_LINES_PER_REQUEST_MAX: Final = 1_000
LOG_BEGUN_PER_REQUEST_MAX: Final = 50  # steps that began, with their inputs: with lines, they fit into a body
LOG_BEGUN_INPUT_BYTES_MAX: Final = (
    8 * KIB
)  # that is written again with each count of lines; more is shown when it is done
LOG_BATCH_MAX: Final = 1_000  # lines and spans of one transaction: a few ms of the writer
LOG_WAITING_MAX: Final = 20_000  # lines and spans that one replica holds while the database is slow
LOG_BODY_BYTES_MAX: Final = 8 * MIB  # of one request with lines or spans (protocol 6.3)
LOG_LATE_MS: Final = 30 * MINUTE_MS  # after a run's end, less than retention keeps it: later lines are of no known run
LOG_SCANNED_MAX: Final = 20_000  # lines that one page of a search looks through
LOG_NAME_CHARS_MAX: Final = 256  # of a logger, a span
LOG_PAGE_ROWS_MAX: Final = 500
LOG_TEXT_CHARS_MAX: Final = 200  # that somebody searches for

# Who may come in.
PASSWORD_CHARS_MIN: Final = 10
PASSWORD_CHARS_MAX: Final = 1_024
SETUP_LINK_MS: Final = DAY_MS  # how long a set-up link is good
SESSION_MS: Final = 30 * DAY_MS  # since the session was last used
SESSION_RENEWAL_MS: Final = DAY_MS  # so often at most a session that is in use is written
SESSIONS_MAX: Final = 100  # then the one that ends soonest goes
API_TOKENS_MAX: Final = 100
API_TOKEN_NAME_CHARS_MAX: Final = 100
API_TOKEN_USE_MS: Final = HOUR_MS  # how precisely one knows when a token was last used
CREDENTIALS_KEPT_S: Final = 5.0  # so long another replica takes what was revoked
CREDENTIALS_UNKNOWN_S: Final = 1.0  # between looks for a session or a token that isn't known
LOGINS_WINDOW_S: Final = 60.0  # of failed attempts to log in, or to set up, at one replica:
LOGINS_PER_ADDRESS_MAX: Final = 5
LOGINS_MAX: Final = 20

# Requests, before anybody is asked who they are.
REQUEST_HEAD_BYTES_MAX: Final = 64 * KIB  # address and headers: several times what browsers and proxies send
LOGIN_BODY_BYTES_MAX: Final = 16 * KIB  # a password of 1,024 characters, each escaped
REQUEST_HEAD_S: Final = 30.0  # from the first byte, or the connection, to the end of the headers

# The API.
API_BODY_BYTES_MAX: Final = 4 * MIB

# Metrics.
MEASURED_FUNCTIONS_MAX: Final = 500  # that have series of their own; the rest is counted together, as "other"
BACKLOG_AGE_S: Final = 15.0  # of the backlog in the metrics; it is read when somebody asks for them
BACKLOG_PARTITIONS_MAX: Final = 500
BACKLOG_COUNTED_MAX: Final = 10_000  # jobs of one partition

# The stream of changes.
STREAMS_MAX: Final = 500  # of one replica: each is a connection and a task
STREAM_TOPICS_MAX: Final = 20
STREAM_ITEMS_MAX: Final = 200  # runs, events or lines of one message; of more a page reads all again
STREAM_LINES_BYTES_MAX: Final = 256 * KIB  # of lines in what is told at once; of more a page reads all again
STREAM_KEPT_BYTES_MAX: Final = 8 * MIB  # of lines in what is kept
STREAM_LINES_SEEN_MAX: Final = 5_000  # by which a line that another replica stored is told once
STREAM_PACE_S: Final = 0.1  # between two messages of a stream
STREAM_KEPT_MAX: Final = 600  # messages: a minute's, for pages that come back and those that are slow
STREAM_LINGER_S: Final = 30.0  # after the last page has left, in which it may come back
STREAM_POLL_S: Final = 2.0  # while pages are open that hear nothing of other replicas: behind a pooler, or cut off
VIEWING_S: Final = 10.0  # how often a replica tells the others what its pages want to hear
VIEWING_KEPT_S: Final = 25.0  # how long they go by it: two may be lost
VIEWED_RUNS_MAX: Final = 100  # that it names one by one; of more pages, all runs are told
STREAM_CHECKED_S: Final = 15.0  # how long a page may listen whose session or token another replica has ended
STREAM_COMMENT_S: Final = 15.0  # of silence; proxies and browsers then learn that the other end is there
