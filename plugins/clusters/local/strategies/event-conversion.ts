/** events.k8s.io/v1 and core/v1 are two spellings of one object; core/v1 is what is stored. */
import type { Event, EventsV1Event } from '../../../../kernel/contract/kubernetes.ts';

/** Copies the pairs that have a value. */
function defined<T extends object>(parts: { [K in keyof T]: T[K] | undefined }): T {
  const result = {} as Record<string, unknown>;
  for (const [key, value] of Object.entries(parts)) if (value !== undefined) result[key] = value;
  return result as T;
}

export function eventFromStored(event: Event): EventsV1Event {
  return defined<EventsV1Event>({
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: event.metadata,
    eventTime: event.eventTime ?? (null as never),
    series: event.series && {
      count: event.series.count ?? 0,
      lastObservedTime: event.series.lastObservedTime ?? (null as never),
    },
    reportingController: event.reportingComponent,
    reportingInstance: event.reportingInstance,
    action: event.action,
    reason: event.reason,
    regarding: event.involvedObject,
    related: event.related,
    note: event.message,
    type: event.type,
    deprecatedSource: event.source,
    deprecatedFirstTimestamp: event.firstTimestamp,
    deprecatedLastTimestamp: event.lastTimestamp,
    deprecatedCount: event.count,
  });
}

export function eventToStored(event: EventsV1Event): Event {
  return defined<Event>({
    apiVersion: 'v1',
    kind: 'Event',
    metadata: event.metadata,
    involvedObject: event.regarding ?? {},
    reason: event.reason,
    message: event.note,
    source: event.deprecatedSource,
    firstTimestamp: event.deprecatedFirstTimestamp,
    lastTimestamp: event.deprecatedLastTimestamp,
    count: event.deprecatedCount,
    type: event.type,
    eventTime: event.eventTime,
    series: event.series,
    action: event.action,
    related: event.related,
    reportingComponent: event.reportingController,
    reportingInstance: event.reportingInstance,
  });
}
