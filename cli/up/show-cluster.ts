/** What `pintle up` prints once the cluster runs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Node } from '../../kernel/contract/kubernetes.ts';
import { internalAddresses } from '../../kernel/machinery/node-address.ts';
import { notNeeded } from '../../kernel/registry/plan.ts';
import type { ReportRow } from '../../kernel/registry/report.ts';
import { PintleError } from '../../kernel/contract/errors.ts';
import type { Terminal } from '../terminal.ts';
import { askDemo, deployDemo } from './demo.ts';
import type { Progress } from './progress.ts';
import type { UpCluster } from './up-cluster.ts';

export interface PluginRow {
  readonly kind: string;
  readonly name: string;
  readonly why: string;
}

function reportRows(file: string): readonly ReportRow[] {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { plugins: ReportRow[] }).plugins;
  } catch {
    return [];
  }
}

/** The running plugins of the server and of the first node, with the choices that were passed over and why. */
export function pluginRows(folder: string, nodes: readonly string[]): readonly PluginRow[] {
  const processes = [
    reportRows(join(folder, 'server', 'report.json')),
    reportRows(join(folder, 'nodes', nodes[0] ?? '', 'agent', 'report.json')),
  ];
  const many = new Set(['controller', 'component', 'scheduler']);
  const rows: PluginRow[] = [];
  for (const report of processes) {
    for (const row of report.filter((each) => each.state === 'running')) {
      const passed = report.flatMap((each) =>
        each.kind === row.kind && each.state === 'skipped' && each.reason !== notNeeded
          ? [`${each.name} cannot run here: ${each.reason}`]
          : [],
      );
      const why = !many.has(row.kind) && passed.length > 0 ? `fall-back; ${passed.join('; ')}` : row.summary;
      rows.push({ kind: row.kind, name: row.name, why });
    }
  }
  return rows;
}

/** One-of kinds get a line each; controllers and components share one. */
function showPlugins(terminal: Terminal, cluster: UpCluster): void {
  const rows = pluginRows(
    cluster.files.folder,
    cluster.plan.nodes.map((node) => node.name),
  );
  const grouped = ['controller', 'component'];
  const lines = rows.filter((row) => !grouped.includes(row.kind)).map((row) => [row.kind, row.name, row.why]);
  for (const kind of grouped) {
    const names = rows.filter((row) => row.kind === kind).map((row) => row.name);
    lines.push([kind, `${names.length} of them`, names.join(', ')]);
  }
  terminal.line();
  terminal.table(['KIND', 'PLUGIN', 'WHAT, OR WHY IT WAS CHOSEN'], lines);
}

async function showNodes(terminal: Terminal, cluster: UpCluster): Promise<void> {
  const { items } = await cluster.api.get<{ items: Node[] }>('/api/v1/nodes');
  terminal.line();
  terminal.table(
    ['NODE', 'READY', 'ADDRESS', 'PODS'],
    items.map((node) => [
      node.metadata.name,
      node.status?.conditions?.find((each) => each.type === 'Ready')?.status === 'True' ? 'yes' : 'no',
      internalAddresses(node).join(','),
      (node.spec.podCIDRs ?? []).join(','),
    ]),
  );
}

export async function showCluster(terminal: Terminal, cluster: UpCluster): Promise<void> {
  await showNodes(terminal, cluster);
  showPlugins(terminal, cluster);
}

export async function showDemo(
  terminal: Terminal,
  cluster: UpCluster,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const replicas = cluster.plan.nodes.length;
  const result = await progress.step(
    'demo answers through its Service',
    async () => {
      await deployDemo(cluster.api, replicas);
      return askDemo(cluster.api, replicas, signal);
    },
    () => `${progress.elapsedMs} ms since the start`,
  );
  await showCluster(terminal, cluster);
  terminal.line();
  terminal.table(
    ['DEMO POD', 'NODE', 'IP'],
    result.pods.map((pod) => [pod.name, pod.node, pod.ip]),
  );
  terminal.line(`\n12 requests from pod demo-client to http://demo (Service ${result.serviceIp}:80):`);
  result.answers.forEach((answer, index) => terminal.line(`  ${String(index + 1).padStart(2)}  ${answer}`));
  if (
    result.answers.length !== 12 ||
    !result.answers.every((answer) => result.pods.some((pod) => pod.name === answer))
  ) {
    throw new PintleError(
      'INTERNAL',
      `the demo's Service answered ${result.answers.length} of 12 requests as expected; see kubectl logs demo-client`,
    );
  }
}

/** `end`: how this cluster is taken down, as a sentence. */
export function showNextSteps(terminal: Terminal, cluster: UpCluster, hasDemo: boolean, end: string): void {
  const next = hasDemo
    ? ['kubectl get pods -o wide', 'kubectl scale deployment demo --replicas=6', 'kubectl logs -l app=demo --prefix']
    : [
        'kubectl get nodes -o wide',
        'kubectl create deployment web --image=host --replicas=3 -- sleep infinity',
        'kubectl get pods -o wide -w',
      ];
  terminal.line('\nNext:');
  terminal.line(`  export KUBECONFIG=${cluster.files.kubeconfig}`);
  for (const line of next) terminal.line(`  ${line}`);
  terminal.line(`\n${end}`);
}
