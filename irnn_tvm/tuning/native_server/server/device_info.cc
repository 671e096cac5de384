#include "device_info.h"

#include <sys/auxv.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <vector>

namespace irnn {
namespace {

struct Flag {
  unsigned long type;  // AT_HWCAP or AT_HWCAP2
  int bit;
  const char* name;  // the one of /proc/cpuinfo
};

// Asked of the kernel and not read in /proc/cpuinfo, which tells a 32-bit process of a 64-bit kernel what 64-bit ones have.
#if defined(__arm__)
const Flag kFlags[] = {{AT_HWCAP, 1, "half"},    {AT_HWCAP, 2, "thumb"},   {AT_HWCAP, 6, "vfp"},
                       {AT_HWCAP, 12, "neon"},   {AT_HWCAP, 13, "vfpv3"},  {AT_HWCAP, 14, "vfpv3d16"},
                       {AT_HWCAP, 16, "vfpv4"},  {AT_HWCAP, 17, "idiva"},  {AT_HWCAP, 18, "idivt"},
                       {AT_HWCAP, 19, "vfpd32"}, {AT_HWCAP, 24, "asimddp"}};
#elif defined(__aarch64__)
const Flag kFlags[] = {{AT_HWCAP, 0, "fp"},       {AT_HWCAP, 1, "asimd"},     {AT_HWCAP, 8, "atomics"},
                       {AT_HWCAP, 9, "fphp"},     {AT_HWCAP, 10, "asimdhp"},  {AT_HWCAP, 12, "asimdrdm"},
                       {AT_HWCAP, 20, "asimddp"}, {AT_HWCAP, 22, "sve"},      {AT_HWCAP2, 1, "sve2"},
                       {AT_HWCAP2, 13, "i8mm"},   {AT_HWCAP2, 14, "bf16"}};
#else
#error "the server is for ARM"
#endif

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < ' ') {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", byte);
      out += code;
    } else {
      out += byte < 0x7F ? c : '?';
    }
  }
  return out + '"';
}

/* At most `most` bytes of a file; empty where there is none. */
std::string ReadFile(const std::string& path, size_t most) {
  std::ifstream file(path, std::ios::binary);
  std::string text(most, '\0');
  file.read(&text[0], static_cast<std::streamsize>(most));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

/* A line of the frequency settings of the first core, or null. */
std::string Clock(const std::string& name) {
  std::string text = ReadFile("/sys/devices/system/cpu/cpu0/cpufreq/" + name, 64);
  while (!text.empty() && text.back() <= ' ') text.pop_back();
  return text.empty() ? "null" : Quoted(text);
}

std::string Flags() {
  std::string out;
  for (const Flag& flag : kFlags) {
    if (getauxval(flag.type) >> flag.bit & 1) out += (out.empty() ? "" : ", ") + Quoted(flag.name);
  }
  return "[" + out + "]";
}

/* What this program runs as: a 32-bit one on a 64-bit kernel is none of that kernel's architecture. */
std::string Machine(const utsname& system) {
  const std::string machine = system.machine;
  return sizeof(void*) == 4 && machine == "aarch64" ? "armv8l" : machine;
}

}  // namespace

std::string DeviceInfo(const std::string& folder) {
  utsname system{};
  uname(&system);
  struct statvfs disk {};
  statvfs(folder.c_str(), &disk);
  const uint64_t free_bytes = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  const std::vector<std::pair<const char*, std::string>> fields = {
      {"host", Quoted(system.nodename)},
      {"machine", Quoted(Machine(system))},
      {"cpuinfo", Quoted(ReadFile("/proc/cpuinfo", 64 << 10))},
      {"flags", Flags()},
      {"cores", std::to_string(sysconf(_SC_NPROCESSORS_ONLN))},
      {"irnn_tvm", Quoted(IRNN_VERSION)},
      {"tvm", Quoted(IRNN_TVM_VERSION)},
      {"tvm_ffi", Quoted(IRNN_TVM_FFI_VERSION)},
      {"governor", Clock("scaling_governor")},
      {"khz", Clock("scaling_cur_freq")},
      {"most_khz", Clock("cpuinfo_max_freq")},
      {"free_bytes", std::to_string(free_bytes)},
  };
  std::string out;
  for (const auto& [name, value] : fields) out += (out.empty() ? "" : ", ") + Quoted(name) + ": " + value;
  return "{" + out + "}";
}

}  // namespace irnn
