"""The layouts of data sets: which one lies in a folder, and its images with their ids and cameras."""
