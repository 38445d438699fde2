/** Prometheus text (version 0.0.4) of single metrics. */
export type Labels = Readonly<Record<string, string | number>>;
export interface Sample {
  readonly labels?: Labels | undefined;
  readonly value: number;
}

export function metricText(
  name: string,
  type: 'counter' | 'gauge',
  help: string,
  samples: number | readonly Sample[],
): string {
  const all = typeof samples === 'number' ? [{ value: samples }] : samples;
  if (all.length === 0) return '';
  return `${metricHead(name, type, help)}${all.map(({ labels, value }: Sample) => sampleLine(name, labels, value)).join('')}`;
}

export function metricHead(name: string, type: string, help: string): string {
  return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`;
}

export function sampleLine(name: string, labels: Labels | undefined, value: number): string {
  return `${name}${labelText(labels)} ${numberText(value)}\n`;
}

function labelText(labels: Labels | undefined): string {
  const entries = Object.entries(labels ?? {});
  if (entries.length === 0) return '';
  const escaped = (text: string): string =>
    text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  return `{${entries.map(([name, value]) => `${name}="${escaped(String(value))}"`).join(',')}}`;
}

function numberText(value: number): string {
  if (value === Infinity) return '+Inf';
  if (value === -Infinity) return '-Inf';
  return String(value);
}
