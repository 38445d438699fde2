/** Attachment ptp: every pod on a link of its own. */
import { VethAttachment, type VethOptions } from '../../linux/pods/veth-attachment.ts';
import { openRtnetlink } from '../../linux/rtnetlink.ts';
import { PtpSide } from './ptp-side.ts';

export function openPtp(options: VethOptions): VethAttachment {
  const host = openRtnetlink(options);
  return new VethAttachment(options, host, new PtpSide(host, options.netns));
}
