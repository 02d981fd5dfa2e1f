"""What makes two studies similar in words: concept sets, report text, and the fusion of several rankings into one."""
