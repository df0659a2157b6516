"""A face's depth from its pictures: skin looks the same from every side only in its true shape."""
