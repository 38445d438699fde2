/** The configuration of a containerd that shares nothing with the host's: the benchmark's, and that of tests. */
import { join } from 'node:path';

export interface CniFolders {
  readonly confDir: string;
  readonly binDir: string;
}

export function containerdConfig(own: {
  readonly folder: string;
  readonly socket: string;
  readonly sandboxImage: string;
  readonly cni: CniFolders;
}): string {
  const { folder, socket, sandboxImage, cni } = own;
  // restrict_oom_score_adj: not every machine lets a process lower its value.
  return `version = 2
root = "${join(folder, 'root')}"
state = "${join(folder, 'state')}"
[grpc]
  address = "${socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${join(folder, 'opt')}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${sandboxImage}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "${cni.confDir}"
    bin_dir = "${cni.binDir}"
`;
}
