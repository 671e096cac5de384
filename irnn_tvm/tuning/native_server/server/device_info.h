/* What a device says about itself; asked before tuning. */
#ifndef IRNN_SERVER_DEVICE_INFO_H_
#define IRNN_SERVER_DEVICE_INFO_H_

#include <string>

namespace irnn {

/* As JSON: architecture, CPU flags, text of /proc/cpuinfo, versions, clock, free disk where `folder` is. */
std::string DeviceInfo(const std::string& folder);

}  // namespace irnn
#endif  // IRNN_SERVER_DEVICE_INFO_H_
