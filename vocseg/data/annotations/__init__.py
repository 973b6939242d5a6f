"""Conversion of COCO and labelme annotations to index masks."""
