/** Jobs and CronJobs. */
import type { CronJob, Job, JobSpec } from '../../../../kernel/contract/kubernetes.ts';
import { labelSelector } from '../../../../kernel/machinery/selectors.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { validateSelector } from '../validation/selector.ts';
import { validateJobPolicies } from './job-policies.ts';
import type { Strategy } from './strategy.ts';
import { validateTemplate } from './workloads.ts';

const uidLabels = ['controller-uid', 'batch.kubernetes.io/controller-uid'];
const nameLabels = ['job-name', 'batch.kubernetes.io/job-name'];

/** A Job finds its own pods by its uid, so that nobody has to invent a selector. */
function generateSelector(job: Job): void {
  const { name, uid } = job.metadata;
  job.spec.template.metadata ??= {};
  const labels: Record<string, string> = { ...job.spec.template.metadata.labels };
  for (const key of uidLabels) labels[key] ??= uid;
  for (const key of nameLabels) labels[key] ??= name;
  job.spec.template.metadata.labels = labels;
  job.spec.selector ??= {};
  job.spec.selector.matchLabels = { ...job.spec.selector.matchLabels, [uidLabels[1]!]: uid };
}

function validateJobSpec(spec: JobSpec, field: string, errors: FieldErrors): void {
  for (const name of [
    'parallelism',
    'completions',
    'activeDeadlineSeconds',
    'backoffLimit',
    'backoffLimitPerIndex',
    'maxFailedIndexes',
    'ttlSecondsAfterFinished',
  ] as const) {
    errors.nonNegative(`${field}.${name}`, spec[name]);
  }
  errors.oneOf(`${field}.completionMode`, spec.completionMode, ['Indexed', 'NonIndexed']);
  if (spec.completionMode === 'Indexed' && spec.completions === undefined) {
    errors.required(`${field}.completions`, 'when completion mode is Indexed');
  }
  const policy = spec.template?.spec?.restartPolicy;
  if (policy === 'Always' || !policy) {
    errors.required(`${field}.template.spec.restartPolicy`, 'valid values: "OnFailure", "Never"');
  }
  validateJobPolicies(spec, field, errors);
  validateTemplate(spec.template, `${field}.template`, ['Always', 'OnFailure', 'Never'], errors);
}

export const job: Strategy<Job> = {
  nameRule: 'subdomain',
  countsGeneration: true,
  initialStatus: () => ({}),
  prepareCreate(object) {
    if (!object.spec.manualSelector) generateSelector(object);
  },
  validate({ spec }, errors) {
    validateJobSpec(spec, 'spec', errors);
    if (!spec.selector) errors.required('spec.selector');
    else if (
      validateSelector(spec.selector, 'spec.selector', errors) &&
      !labelSelector(spec.selector).matches(spec.template?.metadata?.labels)
    ) {
      errors.invalid(
        'spec.template.metadata.labels',
        spec.template?.metadata?.labels ?? {},
        '`selector` does not match template `labels`',
      );
    }
  },
  validateUpdate({ spec }, { spec: old }, errors) {
    const isElastic = spec.completionMode === 'Indexed' && spec.completions === spec.parallelism;
    if (spec.completions !== old.completions && !isElastic) {
      errors.invalid('spec.completions', spec.completions ?? null, 'field is immutable');
    }
    for (const name of [
      'selector',
      'completionMode',
      'podFailurePolicy',
      'backoffLimitPerIndex',
      'managedBy',
    ] as const) {
      if (!sameJson(spec[name], old[name])) errors.invalid(`spec.${name}`, spec[name] ?? null, 'field is immutable');
    }
    // A suspended Job that never ran may still be placed otherwise.
    if (!old.suspend && !sameJson(spec.template, old.template)) {
      errors.invalid('spec.template', spec.template, 'field is immutable');
    }
  },
  fieldNames: ['status.successful'],
  field: ({ status }) => String(status?.succeeded ?? 0),
};

const macros = ['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@midnight', '@hourly'];
const months = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
const days = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];
const cronFields = [
  { name: 'minute', low: 0, high: 59, words: [] },
  { name: 'hour', low: 0, high: 23, words: [] },
  { name: 'day of month', low: 1, high: 31, words: [] },
  { name: 'month', low: 1, high: 12, words: months },
  { name: 'day of week', low: 0, high: 6, words: days },
] as const;

/** Why this is no schedule; undefined when it is one. */
function scheduleFault(text: string): string | undefined {
  const schedule = text.trim();
  if (schedule.startsWith('@every ')) {
    return /^@every (\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(schedule) ? undefined : `failed to parse duration ${text}`;
  }
  if (schedule.startsWith('@')) return macros.includes(schedule) ? undefined : `unrecognized descriptor: ${schedule}`;
  const parts = schedule.split(/\s+/);
  if (parts.length !== 5)
    return `expected exactly 5 fields, found ${schedule === '' ? 0 : parts.length}: [${schedule}]`;
  for (const [index, { name, low, high, words }] of cronFields.entries()) {
    const number = (word: string): number => {
      const at = (words as readonly string[]).indexOf(word.toUpperCase());
      if (at >= 0) return at + low;
      return /^\d+$/.test(word) ? Number(word) : Number.NaN;
    };
    for (const part of parts[index]!.split(',')) {
      const match = /^(\*|\?|[0-9A-Za-z]+)(?:-([0-9A-Za-z]+))?(?:\/(\d+))?$/.exec(part);
      if (!match) return `failed to parse ${name}: ${part}`;
      const [, first, last, step] = match;
      if (step !== undefined && Number(step) === 0) return `step of range should be a positive number: ${part}`;
      if (first === '*' || first === '?') {
        if (last !== undefined) return `failed to parse ${name}: ${part}`;
        continue;
      }
      const from = number(first!);
      const to = last === undefined ? from : number(last);
      if (Number.isNaN(from) || Number.isNaN(to)) return `failed to parse ${name}: ${part}`;
      if (from < low) return `beginning of range (${from}) below minimum (${low}): ${part}`;
      if (to > high) return `end of range (${to}) above maximum (${high}): ${part}`;
      if (from > to) return `beginning of range (${from}) beyond end of range (${to}): ${part}`;
    }
  }
  return undefined;
}

export const cronJob: Strategy<CronJob> = {
  countsGeneration: true,
  initialStatus: () => ({}),
  validate({ metadata, spec }, errors) {
    if (metadata.name.length > 52) errors.invalid('metadata.name', metadata.name, 'must be no more than 52 characters');
    if (!spec.schedule) errors.required('spec.schedule');
    else {
      const fault = scheduleFault(spec.schedule);
      if (fault) errors.invalid('spec.schedule', spec.schedule, fault);
      if (/TZ=/.test(spec.schedule)) {
        errors.invalid(
          'spec.schedule',
          spec.schedule,
          'cannot use TZ or CRON_TZ in schedule, use timeZone field instead',
        );
      }
    }
    if (spec.timeZone === '') errors.invalid('spec.timeZone', '', 'timeZone must be nil or non-empty string');
    else if (spec.timeZone !== undefined) {
      try {
        new Intl.DateTimeFormat('en', { timeZone: spec.timeZone });
      } catch {
        errors.invalid('spec.timeZone', spec.timeZone, `unknown time zone ${spec.timeZone}`);
      }
    }
    errors.oneOf('spec.concurrencyPolicy', spec.concurrencyPolicy, ['Allow', 'Forbid', 'Replace']);
    for (const name of ['startingDeadlineSeconds', 'successfulJobsHistoryLimit', 'failedJobsHistoryLimit'] as const) {
      errors.nonNegative(`spec.${name}`, spec[name]);
    }
    if (!spec.jobTemplate?.spec) errors.required('spec.jobTemplate.spec');
    else {
      validateJobSpec(spec.jobTemplate.spec, 'spec.jobTemplate.spec', errors);
      if (spec.jobTemplate.spec.manualSelector) {
        errors.notSupported('spec.jobTemplate.spec.manualSelector', true, ['nil', 'false']);
      }
    }
  },
};
