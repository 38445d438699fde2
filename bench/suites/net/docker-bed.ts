/**
 * Docker's own overlay between two engines of a swarm, one a node: what people have today. Pods are the network namespaces
 * of containers; all that is measured in them is as in the other cells.
 */
import { DockerEngine } from '../../bed/docker-engine.ts';
import type { Place } from '../../bed/place.ts';
import { Pod } from '../../bed/pod.ts';
import { nodeAddress, Wire } from '../../bed/wire.ts';
import type { Recorder } from '../../method/suite.ts';
import { memoryOf, NetBed, type NetCell, type Pods } from './bed.ts';

const network = 'bench';
/** Of the cluster, so that nothing else of the bed meets it. */
const subnet = '10.244.0.0/16';

export class DockerBed extends NetBed {
  readonly #wire = new Wire(2);
  readonly #engines: DockerEngine[] = [];
  readonly #containers: Place[] = [];
  #pods: Pods | undefined;

  static async open(cell: NetCell): Promise<DockerBed> {
    const bed = new DockerBed(cell);
    try {
      await bed.#start();
      return bed;
    } catch (error) {
      await bed.close();
      throw error;
    }
  }

  protected get pods(): Pods {
    if (this.#pods === undefined) throw new Error('the containers are not started yet');
    return this.#pods;
  }

  async #start(): Promise<void> {
    const { nodes, places } = this.#wire;
    const started = await Promise.allSettled(
      nodes.map((node, index) => DockerEngine.start(node, `${places.folder}/d${index}`)),
    );
    for (const engine of started) if (engine.status === 'fulfilled') this.#engines.push(engine.value);
    for (const engine of started) if (engine.status === 'rejected') throw engine.reason;
    const [one, two] = this.#engines as [DockerEngine, DockerEngine];
    try {
      const address = (index: number) => ({
        ...{ ListenAddr: `${nodeAddress(index)}:2377`, AdvertiseAddr: nodeAddress(index) },
      });
      await one.docker.swarmInit(address(0));
      const { JoinTokens } = (await one.docker.swarmInspect()) as { JoinTokens: { Worker: string } };
      await two.docker.swarmJoin({
        ...{ ...address(1), RemoteAddrs: [`${nodeAddress(0)}:2377`], JoinToken: JoinTokens.Worker },
      });
      await one.docker.createNetwork({
        ...{ Name: network, Driver: 'overlay', Attachable: true, Internal: true },
        IPAM: { Driver: 'default', Config: [{ Subnet: subnet }] },
      });
    } catch (error) {
      throw one.failure('no swarm could be made', error);
    }
    const pod = async (engine: DockerEngine, name: string): Promise<Pod> => {
      const place = await engine.place(name, network);
      this.#containers.push(place);
      const ip = place.links((links) => {
        const eth0 = links.getLink('eth0')?.index;
        return links.listAddresses().find((one) => one.index === eth0 && !one.address.includes(':'))?.address;
      });
      if (ip === undefined) throw engine.failure(`container ${name} has no address on eth0`);
      return new Pod(place, [ip]);
    };
    await Promise.all([one.importImage(), two.importImage()]);
    // Also where one fails, the others are waited for: what they start is to be ended.
    const pods = await Promise.allSettled([pod(one, 'client'), pod(two, 'remote'), pod(one, 'neighbour')]);
    const [client, remote, neighbour] = pods.map((each) => {
      if (each.status === 'rejected') throw each.reason;
      return each.value;
    }) as [Pod, Pod, Pod];
    this.#pods = { client, remote, neighbour };
    if (!this.cell.hasOffloads) this.cutInSoftware();
  }

  protected override cutInSoftware(): void {
    this.#wire.disableOffloads(this.#containers);
  }

  protected override agents(): readonly Place[] {
    return this.#wire.nodes;
  }

  protected override async measureOwn(record: Recorder): Promise<void> {
    record('agent-memory', memoryOf(this.#wire.nodes[0]!));
  }

  async close(): Promise<readonly string[]> {
    await Promise.all(this.#containers.map((place) => place.stopProcesses()));
    await Promise.all(this.#engines.map((engine) => engine.stop()));
    await this.#wire.close();
    return [];
  }
}
