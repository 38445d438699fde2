/** What making, expanding and deleting a volume work with. */
import type { Clock, Cluster, VolumeDriver } from '../../../kernel/contract/index.ts';
import type {
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
} from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import type { Informer } from '../../../kernel/machinery/informer.ts';

export interface Bench {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly record: EventRecorder;
  readonly node: Node;
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly volumes: Informer<PersistentVolume>;
  readonly classes: Informer<StorageClass>;
  /** Uids of claims that this node gave back, and until when (ms) it leaves them to others. */
  readonly pauses: Map<string, number>;
  /** The driver that provisions under this name. */
  driverNamed(provisioner: string | undefined): VolumeDriver | undefined;
}
