/** `pintle bench net --cluster`: on the nodes of a running cluster. */
import { join } from 'node:path';
import { readResult } from '../../bench/index.ts';
import { resources } from '../../kernel/machinery/resources.ts';
import { connect } from '../../plugins/clusters/remote/connect.ts';
import { TestCluster } from '../cluster/support/cluster.ts';
import { bench, folderOf, trafficTest, troubles } from './support/bench-run.ts';

trafficTest(
  'on the nodes of a running cluster: pods of ours, and nothing of them afterwards (needs iperf3)',
  async (t) => {
    t.timeout(600_000);
    const cluster = await TestCluster.start({ nodes: 2 });
    t.teardown(() => cluster.stop());
    const folder = folderOf(t);
    const argv = ['net', '--cluster', cluster.kubeconfig, '--size', 'smoke', '--rounds', '1', '--out', 'r.json'];
    const run = await bench(folder, argv);
    t.is(run.code, 0, troubles(run));
    const [suite] = readResult(join(folder, 'r.json')).suites;
    const cells = suite?.cells ?? [];
    t.deepEqual(
      cells.map(({ id, state, leftBehind }) => [id, state, leftBehind]),
      ['node to node', 'pod to pod', 'pod to pod, same node', 'pod to Service'].map((id) => [id, 'measured', []]),
      troubles(run),
    );
    for (const { id, samples } of cells) t.true((samples['tcp-1']?.[0]?.value ?? 0) > 0, id);
    const connection = await connect(cluster.kubeconfig);
    const isOurs = async (): Promise<boolean> => {
      const { items } = await connection.cluster.list(resources.namespaces);
      return items.some(({ metadata }) => metadata.name.startsWith('pintle-bench-'));
    };
    while (await isOurs()) await new Promise((resolve) => setTimeout(resolve, 100));
    connection.close();
    t.pass();
  },
);
