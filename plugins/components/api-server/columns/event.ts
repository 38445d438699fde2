/** Columns of Event, in both of its groups: core v1 and events.k8s.io say the same with other field names. */
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';
import type { ObjectReference } from '../../../../kernel/contract/kubernetes.ts';
import { nameColumn, since, table, text, wide } from './column.ts';

interface AnyEvent extends KubernetesObject {
  readonly involvedObject?: ObjectReference;
  readonly regarding?: ObjectReference;
  readonly reason?: string;
  readonly message?: string;
  readonly note?: string;
  readonly type?: string;
  readonly eventTime?: string | null;
  readonly firstTimestamp?: string | null;
  readonly lastTimestamp?: string | null;
  readonly deprecatedFirstTimestamp?: string | null;
  readonly deprecatedLastTimestamp?: string | null;
  readonly count?: number;
  readonly deprecatedCount?: number;
  readonly source?: { readonly component?: string; readonly host?: string };
  readonly deprecatedSource?: { readonly component?: string; readonly host?: string };
  readonly reportingComponent?: string;
  readonly reportingController?: string;
  readonly reportingInstance?: string;
  readonly series?: { readonly count?: number; readonly lastObservedTime?: string | null } | null;
}

export const eventColumns = table<AnyEvent>(
  [
    text('Last Seen', 'Time since it was seen last.'),
    text('Type'),
    text('Reason'),
    text('Object'),
    wide(text('Subobject')),
    wide(text('Source')),
    text('Message'),
    wide(text('First Seen')),
    wide({ ...text('Count'), type: 'integer' }),
    wide(nameColumn),
  ],
  (event, now) => {
    const about = event.involvedObject ?? event.regarding ?? {};
    const begin = event.firstTimestamp ?? event.deprecatedFirstTimestamp ?? event.eventTime;
    const end = event.series?.lastObservedTime ?? event.lastTimestamp ?? event.deprecatedLastTimestamp ?? begin;
    return [
      since(end, now),
      event.type ?? '',
      event.reason ?? '',
      `${(about.kind ?? '').toLowerCase()}/${about.name ?? ''}`,
      about.fieldPath ?? '',
      sourceText(event),
      (event.message ?? event.note ?? '').trim(),
      since(begin, now),
      event.series?.count ?? event.count ?? event.deprecatedCount ?? 1,
      event.metadata.name,
    ];
  },
);

function sourceText(event: AnyEvent): string {
  const source = event.source ?? event.deprecatedSource;
  const component = source?.component ?? event.reportingComponent ?? event.reportingController ?? '';
  const host = source?.host ?? event.reportingInstance ?? '';
  return host === '' ? component : `${component}, ${host}`;
}
