/* A folder for the files of a session. */
#ifndef IRNN_SERVER_TEMPORARY_FOLDER_H_
#define IRNN_SERVER_TEMPORARY_FOLDER_H_

#include <string>

namespace irnn {

/* Goes with everything in it. The constructor throws NetworkError where no folder can be made. */
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/* Removes folders of servers that were killed. */
void RemoveAbandonedFolders();

}  // namespace irnn
#endif  // IRNN_SERVER_TEMPORARY_FOLDER_H_
